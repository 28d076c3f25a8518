# SPDX-License-Identifier: GPL-2.0-or-later
"""The check serial-outside: each byte counts in both directions; the guest and the wire are made."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from passthru.check.context import Context
from passthru.check.finding import Finding, Verdict
from passthru.check.registry import judge
from passthru.check.serial_outside import Options
from passthru.check.serial_traffic import Traffic, reply, sent
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, Unusable
from passthru.run.outside import SocketLine
from tests.unit.check.harness import Answer, Log, bundle, device

if TYPE_CHECKING:
    from collections.abc import Callable

TRAFFIC = Traffic(64, 5)
CARD = replace(device(), hardware="card")


@dataclass
class WiredGuest:
    """Sends the script's bursts into its end of a wire, and takes the answers, as a real guest does.

    ``out`` and ``into`` are what the wire makes of the bytes, ``ports`` how many the device has.
    """

    near: socket.socket
    out: Callable[[bytes], bytes] = bytes
    into: Callable[[bytes], bytes] = bytes
    ports: int = 1
    late: bytes = b""
    ends: Exception | Answer | None = None
    kernel_log: Log = field(default_factory=Log)
    ran: list[str] = field(default_factory=list)

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        self.ran.append(command)
        if isinstance(self.ends, Exception):
            raise self.ends
        if self.ends:
            return self.ends
        loop = asyncio.get_running_loop()
        files: dict[str, bytes | str] = {"ports": f"{self.ports}\n", "0.name": "ttyS1\n", "0.surplus": b""}
        for burst in range(TRAFFIC.bursts):
            await loop.sock_sendall(self.near, self.out(sent(TRAFFIC, burst)))
            got = b""
            try:
                async with asyncio.timeout(0.3):
                    while data := await loop.sock_recv(self.near, TRAFFIC.size - len(got)):
                        got += data
            except TimeoutError:
                pass
            files[f"0.{burst}"] = self.into(got)
            if len(self.into(got)) < TRAFFIC.size:
                break
        if self.late:
            await loop.sock_sendall(self.near, self.late)
        return bundle(files)


async def found(early: bytes = b"", **guest: Any) -> Finding:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        near.send(early)
        context = Context(
            WiredGuest(near, **guest),
            CARD,
            Deadline.after(20),
            outside={"card": SocketLine(far, "card")},
        )
        return await judge(context, Options(use="serial-outside", device=CARD.id, silence=0.1))


def without_last(data: bytes) -> bytes:
    return data[:-1]


async def test_every_byte_in_both_directions_passes() -> None:
    finding = await found()
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == (
        "320 bytes (5 bursts of 64) of ttyS1 came out of card, and as many that were put in there arrived"
    )
    assert (finding.facts["out"], finding.facts["in"]) == (320, 320)


def test_all_values_cross_in_both_directions_and_no_answer_is_its_question() -> None:
    for what in (sent, reply):
        assert len(set(b"".join(what(TRAFFIC, burst) for burst in range(5)))) == 256
    assert all(one != other for one, other in zip(sent(TRAFFIC, 0), reply(TRAFFIC, 0), strict=True))


async def test_a_byte_that_is_lost_on_its_way_out_is_told_once() -> None:
    finding = await found(out=without_last)
    assert finding.verdict is Verdict.FAILED
    (told,) = finding.details
    last = sent(TRAFFIC, 0)[-1]
    assert told == f"port 0 (ttyS1): burst 1 of 5: sent 64 bytes, 63 came out: lost byte 63 ({last:02x})"


async def test_each_changed_byte_counts_in_either_direction() -> None:
    for offset in (0, 31, 63):

        def changed(data: bytes, offset: int = offset) -> bytes:
            return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :] if len(data) == 64 else data

        out, into = await found(out=changed), await found(into=changed)
        assert "64 came out: byte" in out.summary
        assert "got 64 from outside: byte" in into.summary
        assert {out.verdict, into.verdict} == {Verdict.FAILED}


async def test_nothing_out_and_nothing_in_are_told_apart() -> None:
    silent = await found(out=lambda data: b"")
    assert "sent 64 bytes, 0 came out: lost bytes 0-63" in silent.summary
    deaf = await found(into=lambda data: b"")
    assert "sent 64 bytes, got 0 from outside: lost bytes 0-63" in deaf.summary
    assert {silent.verdict, deaf.verdict} == {Verdict.FAILED}


async def test_an_echo_of_the_card_does_not_pass_for_the_outside() -> None:
    finding = await found(into=lambda data: sent(TRAFFIC, 0) if data else b"")
    assert finding.verdict is Verdict.FAILED


async def test_bytes_that_nobody_sent_fail_and_older_ones_are_told() -> None:
    finding = await found(late=b"\x01\x02")
    assert (finding.verdict, finding.details) == (Verdict.FAILED, ("2 bytes came out that were not sent: 01 02",))
    finding = await found(early=b"boot")
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.details == ("4 bytes had come out of card before: 62 6f 6f 74",)


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (DeadlineExceeded("the guest command", 3.0), "the serial ports of mtty0 hang"),
        (Answer(b"", b"stty: error\n", 1), "could not drive the serial ports of mtty0: stty: error"),
        (bundle({"ports": "0\n"}), "made no serial port"),
    ],
)
async def test_ports_that_are_not_there_or_hang_fail(ends: Exception | Answer, said: str) -> None:
    finding = await found(ends=ends)
    assert finding.verdict is Verdict.FAILED
    assert said in finding.summary


async def test_without_an_outside_the_check_is_skipped() -> None:
    near, far = socket.socketpair()
    with near, far:
        context = Context(WiredGuest(near), CARD, outside={"other": SocketLine(far, "other")})
        finding = await judge(context, Options(use="serial-outside", device=CARD.id))
    assert finding.verdict is Verdict.SKIPPED
    assert finding.facts == {"capability": "the outside of card"}
    assert "(lines to the outside: other)" in finding.summary


class EndedLine(SocketLine):
    """Bytes come out still, and none go in."""

    async def write(self, data: bytes, deadline: Deadline) -> None:
        raise Unusable("nothing can be put into card")


async def test_a_line_that_cannot_be_written_is_no_verdict() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        context = Context(WiredGuest(near), CARD, Deadline.after(20), outside={"card": EndedLine(far, "card")})
        with pytest.raises(Unusable, match="nothing can be put into card"):
            await judge(context, Options(use="serial-outside", device=CARD.id, silence=0.1))


@pytest.mark.parametrize("wrong", [{"bytes": 0}, {"port": -1}, {"ports": (0,)}, {"bytes": 1000, "bursts": 20}])
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "serial-outside", "device": "d", **wrong})
