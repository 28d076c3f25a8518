# SPDX-License-Identifier: GPL-2.0-or-later
"""The bug hunter's handles, each used for what it is there for."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import Process, lines_until

if TYPE_CHECKING:
    from tests.e2e.harness import Command


def test_traces_of_qemu_and_of_the_device(passthru: Command) -> None:
    ended = passthru("run", "mtty", "--trace", "vfio_user_recv*", "--trace", "vfio_user_send*")
    assert ended.status == 0, ended
    assert "vfio_user_recv" in (ended.directory / "qemu-trace.log").read_text()
    decoded = passthru("trace", str(ended.directory))
    assert decoded.status == 0, decoded
    assert "VERSION" in decoded.stdout
    assert "REGION_READ" in decoded.stdout


def test_arguments_properties_and_kernel_parameters_reach_their_places(passthru: Command) -> None:
    ended = passthru(
        *("run", "mtty", "--set", 'guest.qemu_args=["-device", "virtio-rng-pci,addr=09.0"]'),
        *("--set", "device.mtty0.properties.x-no-posted-writes=true", "--set", "guest.cmdline=passthru.word=7"),
        *(
            "--set",
            'check.more={use="command", command="cat /proc/cmdline; lspci -s 09.0", matches="word=7(.|\\n)*RNG"}',
        ),
    )
    assert ended.status == 0, ended
    (argv,) = (event["argv"] for event in ended.events("child-started") if event["name"] == "qemu")
    assert any('"x-no-posted-writes": true' in word for word in argv)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--trace", "no_such_event*"), 2, ("--trace no_such_event*", "-trace help")),
        (("--set", "device.mtty0.properties.addr=3"), 2, ("device.mtty0.properties", "passthru itself")),
        (("--set", "device.mtty0.properties.nonsense=3"), 125, ("nonsense", "not found")),
        (("--set", 'guest.qemu_args=["--nonsense"]'), 125, ("--nonsense", "invalid option")),
        (("--keep", "-j", "2"), 2, ("--keep", "-j 2")),
        (("--bisect", "--set", "nonsense"), 128, ("KEY=VALUE",)),
        (("--bisect", "--frobnicate"), 128, ("--frobnicate",)),
        (("--repeat", "0"), 2, ("--repeat",)),
    ],
)
def test_bad_input(passthru: Command, arguments: tuple[str, ...], status: int, words: tuple[str, ...]) -> None:
    ended = passthru("run", "mtty", *arguments)
    assert ended.status == status, ended
    for word in words:
        assert word in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


def test_keep_leaves_the_guest_until_an_interrupt_and_the_verdict_stands(passthru: Command) -> None:
    with passthru.start("run", "mtty", "--keep") as process:
        seen = lines_until(process, "the guest stays")
        monitor = found(r"nc -U (\S+)", seen)
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(monitor)
            line.sendall(b"info status\n")
            answer = b""
            while b"VM status: running" not in answer:
                answer += line.recv(4096)
        process.send_signal(signal.SIGINT)
        ended = passthru.ended(process)
    assert ended.status == 0, ended


def test_gdb_finds_the_guest_before_its_first_instruction(passthru: Command) -> None:
    with passthru.start("run", "mtty", "--gdb") as process:
        seen = lines_until(process, "the guest waits for gdb")
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            line.connect(found(r"target remote ([^']+)'", seen))
            line.sendall(b"+$?#3f")
            answer = b""
            while b"#" not in answer:
                answer += line.recv(4096)
            assert b"$T05" in answer  # SIGTRAP: stopped
            line.sendall(b"+$c#63")
            ended = passthru.ended(process)
    assert ended.status == 0, ended


def test_qemu_sh_of_a_run_starts_the_same_guest(passthru: Command) -> None:
    first = passthru("run", "mtty")
    assert first.status == 0, first
    with Process(
        [first.directory / "qemu.sh"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as script:
        lines_until(script, "ttyS2 at I/O")
        assert script.stdin is not None
        script.stdin.write("\x01x")  # Ctrl-A X
        script.stdin.flush()
        assert script.wait(timeout=30) == 0


def test_the_lock_file_names_everything(passthru: Command) -> None:
    ended = passthru("run", "mtty")
    lock = json.loads((ended.directory / "lock.json").read_text())
    assert lock["qemu"]["version"]
    assert lock["kernel"]["identity"]
    assert any(name.startswith("busybox-static=") for name in lock["image"]["packages"]["key"]["packages"])


def found(pattern: str, lines: list[str]) -> str:
    """What the pattern's group is in the first line that has it."""
    return next(match[1] for line in lines if (match := re.search(pattern, line)))
