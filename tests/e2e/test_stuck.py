# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that a rig's KVM brings to a standstill, as it does now and then: seen by its registers, and booted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import Note
from passthru.report.run_directory import reports_in
from passthru.run.judging import Judging
from passthru.run.runner import Runner
from passthru.run.what import the_request

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from passthru.events import Event

SOCKET = "/tmp/gdb"

SPIN = f"""
import re, socket, struct, time

RIP, RFLAGS = 16, 17

def answer(line):
    text = b""
    while not (whole := re.search(rb"[$]([^#]*)#..", text)):
        text += line.recv(4096)
    line.sendall(b"+")
    return whole[1].decode()

def ask(line, text):
    line.sendall(f"${{text}}#{{sum(text.encode()) % 256:02x}}".encode())
    return answer(line)

line = socket.socket(socket.AF_UNIX)
line.connect("{SOCKET}")
while True:
    registers = bytes.fromhex(ask(line, "g"))
    place, flags = struct.unpack_from("<QI", registers, 8 * RIP)
    if place >> 63 and flags & 1 << 9:
        break
    line.sendall(b"$c#63")
    time.sleep(0.05)
    line.sendall(b"\\x03")
    answer(line)
assert ask(line, f"M{{place:x}},2:ebfe") == "OK"
assert ask(line, f"P{{RFLAGS:x}}=" + struct.pack("<I", flags & ~(1 << 9)).hex()) == "OK"
line.sendall(b"$D#44")
answer(line)
"""
"""In the rig, as a debugger of the guest: it jumps to where it is, with interrupts off."""


def test_a_guest_that_is_stuck_is_booted_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By real registers. Only the moment is made: QEMU's fault comes when it comes."""
    judged = 0
    judge_all = Judging.all

    async def spoilt(self: Judging) -> None:
        nonlocal judged
        judged += 1
        if judged == 1:
            assert self.machine is not None and self.host is not None
            await self.guest.run("cat /dev/zero >/dev/null &")  # in the kernel for most of the time
            monitor = self.machine._qmp  # type: ignore[attr-defined]
            words = f"gdbserver unix:{SOCKET},server=on,wait=off"
            await monitor.execute("human-monitor-command", {"command-line": words})
            ended = await self.host.run(["python3", "-c", SPIN], env={}, deadline=Deadline.after(60))
            assert ended.status == 0, ended
        await judge_all(self)

    monkeypatch.setattr(Judging, "all", spoilt)
    events: list[Event] = []
    runner = Runner(tmp_path, reports_in, tell=lambda event: events.append(event.event))  # type: ignore[attr-defined]
    (outcome,) = runner.run([the_request("pci-serial", [])])
    notes = [event.text for event in events if isinstance(event, Note) and "it is booted once more" in event.text]
    assert len(notes) == 1
    assert "with interrupts off" in notes[0]
    assert judged == 2
    assert outcome.exit_code() == 0, outcome
    assert len({judgement.check for judgement in outcome.judgements}) == len(outcome.judgements)
