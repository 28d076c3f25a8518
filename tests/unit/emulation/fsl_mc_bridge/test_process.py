# SPDX-License-Identifier: GPL-2.0-or-later
"""The process itself, with a made QEMU and a made host."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.emulation.fsl_mc_bridge.command import READY
from passthru.emulation.fsl_mc_bridge.places import STATUS_REGISTER
from passthru.emulation.fsl_mc_bridge.settings import Settings
from passthru.emulation.mc_status import Status
from passthru.emulation.shared_ram.board import RamPlace
from passthru.emulation.shared_ram.ram import GuestRam
from passthru.emulation.words import Words
from tests.unit.emulation.fsl_mc_bridge.made_host import message
from tests.unit.emulation.shared_ram.made_qemu import MadeQemu
from tests.unit.emulation.shared_ram.mc_driver import OPEN_DPRC, SET_IRQ, SET_IRQ_ENABLE, VERSION, words

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20.0
MIB = 1 << 20
BASE, SIZE = 0x40000000, 32 * MIB
PORTALS, QUEUES, CONTROL = BASE + 16 * MIB, BASE + 20 * MIB, BASE + 24 * MIB
TRANSLATER = 0x8090040
ROOT = Path(__file__).parents[4]


def settings(directory: Path, **changes: Any) -> Settings:
    place = RamPlace(str(directory / "ram"), SIZE, BASE)
    where: dict[str, Any] = {"qtest": str(directory / "qtest"), "group": "/dev/vfio/3", **changes}
    return Settings(place, container="dprc.2", portals=PORTALS, queues=QUEUES, control=CONTROL, **where)


def started(*arguments: str, module: str, keep: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, pass_fds=keep)


@contextmanager
def running(given: Settings, keep: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """The process with a made host, when it has printed that the guest may start."""
    text = json.dumps(asdict(given))
    with started(text, module="tests.unit.emulation.fsl_mc_bridge.serving", keep=keep) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held dprc.2 /dev/vfio/3\n"
            assert process.stdout.readline() == f"{READY}\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def qemu(tmp_path: Path, nothing_stays_open: None) -> Iterator[MadeQemu]:
    """It listens already."""
    made = MadeQemu(tmp_path)
    yield made
    made.end()


@pytest.fixture
def ram(tmp_path: Path, nothing_stays_open: None) -> Iterator[GuestRam]:
    """As the guest sees it."""
    made = GuestRam(str(tmp_path / "ram"), BASE, SIZE)
    yield made
    made.close()


def send(portal: Words, code: int, token: int = 0, parameters: bytes = b"") -> tuple[int, int]:
    """A command by the container's portal; status and token of the answer."""
    portal.memory[8:64] = parameters.ljust(56, b"\0")
    portal.put_long(0, Status.READY << 16 | token << 32 | (code << 4 | 1) << 48)
    end = time.monotonic() + SECONDS
    while (header := portal.get_long(0)) >> 16 & 0xFF == Status.READY:
        assert time.monotonic() < end
        time.sleep(0.001)
    return header >> 16 & 0xFF, header >> 32 & 0xFFFF


def test_a_guest_with_a_container(tmp_path: Path, ram: GuestRam, qemu: MadeQemu) -> None:
    """Commands, an interrupt, and the end with QEMU."""
    with running(settings(tmp_path)) as process:
        assert ram.read(CONTROL + STATUS_REGISTER, 4) == struct.pack("<I", 1)
        assert process.stdout
        shown = "shown 0x40000000 [('0x40000000', '0x1000000'), ('0x41810000', '0x7f0000')]\n"
        assert process.stdout.readline() == shown
        portal = Words(ram.part(PORTALS, 4096))
        assert send(portal, VERSION) == (Status.OK, 0)
        status, token = send(portal, OPEN_DPRC, 0, words(2))
        assert status == Status.OK
        assert send(portal, SET_IRQ, token, message(5, TRANSLATER)) == (Status.OK, token)
        assert send(portal, SET_IRQ_ENABLE, token, words(1)) == (Status.OK, token)
        qemu.until(lambda: qemu.words == [(TRANSLATER, 5)])
        portal.release()
        qemu.end()
        assert process.wait(SECONDS) == 0
        assert process.stdout.read() == "closed\n"
        assert process.stderr and process.stderr.read() == ""


def test_inherited_descriptors(tmp_path: Path, ram: GuestRam) -> None:
    """QEMU's socket, and one that is told."""
    ours, its = socket.socketpair()
    told, tell = os.pipe()
    with ours, running(settings(tmp_path, qtest=its.fileno(), ready=tell), keep=(its.fileno(), tell)) as process:
        its.close()
        os.close(tell)
        with os.fdopen(told) as line:
            assert line.read() == f"{READY}\n"
        ours.shutdown(socket.SHUT_RDWR)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(tmp_path: Path, qemu: MadeQemu, number: signal.Signals) -> None:
    with running(settings(tmp_path)) as process:
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert process.stdout and "closed" in process.stdout.read()
        assert process.stderr and process.stderr.read() == ""


@pytest.mark.parametrize(
    ("argument", "status", "sentence"),
    [
        ("{", 2, "the bridge is no JSON"),
        ("/nowhere/settings.json", 2, "the description /nowhere/settings.json cannot be read"),
        ("", 125, "dprc.2 cannot be opened by /nowhere/3: No such file or directory; it must be bound to vfio-fsl-mc"),
    ],
)
def test_what_goes_wrong_is_one_sentence(tmp_path: Path, argument: str, status: int, sentence: str) -> None:
    """The last is without a made host: no machine has that group. Without /dev/vfio/vfio the errno is the same."""
    given = argument or json.dumps(asdict(settings(tmp_path, group="/nowhere/3")))
    with started(given, module="passthru.emulation.fsl_mc_bridge") as process:
        assert process.wait(SECONDS) == status
        assert process.stderr
        said = process.stderr.read()
        assert sentence in said and said.count("\n") == 1
