# SPDX-License-Identifier: GPL-2.0-or-later
"""The process itself, with a made QEMU: devices are in place before it, and end with it."""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.emulation import copy_registers as registers
from passthru.emulation.models.outcome import Result
from passthru.emulation.shared_ram.board import Board, MessagePlace, RamPlace, Seat, SmmuPlace
from passthru.emulation.shared_ram.command import READY
from passthru.emulation.shared_ram.ram import GuestRam
from passthru.emulation.words import Words
from tests.unit.emulation.shared_ram.made_qemu import CONTROLLER, MadeQemu
from tests.unit.emulation.shared_ram.made_ram import (
    BASE,
    CONTEXT_SPIS,
    DATA,
    GLOBAL_SPI,
    REGISTERS,
    SIZE,
    STREAM,
    MadeSmmu,
    Tables,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = BASE + 0x600000
SPI = 102
SECONDS = 20.0
IDLE_SHARE = 0.10
"""Of a core, at most, while nothing happens: what is promised."""

MODEL = """
from passthru.emulation.interrupts import Interrupts
from passthru.emulation.model import Model
from passthru.emulation.windows import Window
from passthru.vfio.linux_vfio import VFIO_DEVICE_FLAGS_PLATFORM

class Mine(Model):
    access = "memory"
    device_flags = VFIO_DEVICE_FLAGS_PLATFORM

    def __init__(self, options):
        super().__init__(options)
        self.regions = (Window(4096),)
        self.irqs = (Interrupts(1, 1),)

    def look(self):
        words = self.regions[0].words
        if value := words.get(0):
            words.put(4, 100 // (value - 1))
            words.put(0, 0)
            self.irqs[0].trigger()
        return bool(value)
"""


def board(directory: Path, **changes: Any) -> Board:
    """A copy engine behind an SMMU."""
    place: dict[str, Any] = {
        "ram": RamPlace(str(directory / "ram"), SIZE, BASE),
        "qtest": str(directory / "qtest"),
        "qmp": str(directory / "qmp"),
        "smmu": SmmuPlace(REGISTERS, GLOBAL_SPI, CONTEXT_SPIS),
        "messages": MessagePlace(0x8090040, [STREAM]),
        "devices": {"copy": Seat("copy-engine", [ENGINE], {}, [SPI], STREAM)},
    }
    return Board(**(place | changes))


@contextmanager
def running(directory: Path, what: Board) -> Iterator[subprocess.Popen[str]]:
    """The process, when it says that it is ready; it must end by itself or by SIGTERM."""
    argv = [sys.executable, "-m", "passthru.emulation.shared_ram", json.dumps(asdict(what))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == READY + "\n", process.communicate()[1]
            yield process
        finally:
            process.terminate()
            process.wait(SECONDS)


def until(true: Any) -> None:
    """Wait for memory, which cannot tell by itself."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, "in vain"


@pytest.fixture
def ram(tmp_path: Path, nothing_stays_open: None) -> Iterator[GuestRam]:
    """The guest's view of RAM."""
    made = GuestRam(str(tmp_path / "ram"), BASE, SIZE)
    yield made
    made.close()


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[MadeQemu]:
    """QEMU."""
    made = MadeQemu(tmp_path)
    yield made
    made.end()


def test_before_qemu_is_there(tmp_path: Path) -> None:
    with running(tmp_path, board(tmp_path)) as process:
        contents = (tmp_path / "ram").read_bytes()
        assert int.from_bytes(contents[REGISTERS - BASE + 0x3C :][:4], "little") == 0x20
        assert int.from_bytes(contents[ENGINE - BASE :][:4], "little") == registers.IDENTIFICATION
    assert process.returncode == 0


def test_a_copy_with_its_interrupt_and_a_fault(tmp_path: Path, ram: GuestRam, qemu: MadeQemu) -> None:
    with running(tmp_path, board(tmp_path)) as process:
        made = MadeSmmu(ram)
        tables = Tables(ram)
        tables.map(0x1000, DATA)
        tables.map(0x2000, DATA + 0x5000)
        made.context(2, tables)
        made.route(0, STREAM, 2)
        made.enable()
        ram.write(DATA + 0xFF0, b"right")
        words = Words(ram.part(ENGINE, mmap.PAGESIZE))
        words.put_long(registers.SOURCE, 0x1FF0)
        words.put_long(registers.DESTINATION, 0x2000)
        words.put_long(registers.COUNT, 5)
        words.put(registers.COMMAND, registers.START | registers.INTERRUPT)
        qemu.until(lambda: qemu.levels.get(SPI) is True)
        assert words.get(registers.RESULT) == Result.DONE
        assert ram.read(DATA + 0x5000, 5) == b"right"
        words.put(registers.ACKNOWLEDGE, 0x1)
        qemu.until(lambda: qemu.levels.get(SPI) is False)
        until(lambda: words.get(registers.ACKNOWLEDGE) == 0)
        words.put_long(registers.DESTINATION, 0x3000)
        words.put(registers.COMMAND, registers.START)
        qemu.until(lambda: qemu.edges.count(CONTEXT_SPIS[2]) == 1)
        until(lambda: words.get(registers.COMMAND) == 0)
        assert words.get(registers.RESULT) == Result.UNMAPPED
        assert made.get(made.bank(2) + 0x60, 8) == 0x3000
        words.release()
        made.smmu.release()
        qemu.end()
        assert process.wait(SECONDS) == 0
        assert process.stderr and process.stderr.read() == ""


def test_what_it_costs_when_nothing_happens(tmp_path: Path, qemu: MadeQemu) -> None:
    devices = {
        "copy": Seat("copy-engine", [ENGINE], {}, [SPI], STREAM),
        "mc": Seat("management-complex", [0x48000000, 0x4C000000, BASE + 0x680000], {}, [], 0x17),
    }
    large = RamPlace(str(tmp_path / "ram"), 0x10000000, BASE)
    with running(tmp_path, board(tmp_path, ram=large, devices=devices)) as process:
        ram = GuestRam(str(tmp_path / "ram"), BASE, large.size)
        words = Words(ram.part(ENGINE, mmap.PAGESIZE))
        words.put(registers.RAISE, 1)
        qemu.until(lambda: qemu.levels.get(SPI) is True)
        words.release()
        ram.close()
        seconds, before = 1.5, used(process.pid)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        assert used(process.pid) - before <= IDLE_SHARE * seconds
    assert process.returncode == 0


def used(pid: int) -> float:
    """The processor's seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it(tmp_path: Path, qemu: MadeQemu, number: signal.Signals) -> None:
    with running(tmp_path, board(tmp_path)) as process:
        process.send_signal(number)
        assert process.wait(SECONDS) == 0
        assert process.stderr and process.stderr.read() == ""


def test_a_model_of_ones_own(tmp_path: Path, ram: GuestRam, qemu: MadeQemu) -> None:
    """Its interrupt is an edge, and its mistakes are told with their lines."""
    (tmp_path / "mine.py").write_text(MODEL)
    seat = Seat(f"{tmp_path}/mine.py:Mine", [ENGINE], {}, [SPI])
    with running(tmp_path, board(tmp_path, devices={"mine": seat})) as process:
        words = Words(ram.part(ENGINE, mmap.PAGESIZE))
        words.put(0, 11)
        qemu.until(lambda: qemu.said[-2:] == [f"set_irq_in {CONTROLLER} unnamed-gpio-in {SPI} {n}" for n in (1, 0)])
        assert words.get(4) == 10
        words.put(0, 1)
        words.release()
        assert process.wait(SECONDS) == 2
        assert process.stderr
        assert "mine.py:19: ZeroDivisionError" in process.stderr.read()


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({"devices": {"a": Seat("none", [0])}}, 2, "there is no model 'none'"),
        ({"devices": {"a": Seat("mtty", [0])}}, 2, "mtty must see each access, and RAM shows none; use vfio-user"),
        ({"devices": {"a": Seat("copy-engine", [])}}, 2, "device a has 0 regions and 0 spis; copy-engine has 1"),
        ({"devices": {"a": Seat("copy-engine", [ENGINE + 4])}}, 2, "are not pages of the guest's RAM"),
        ({"devices": {"a": Seat("copy-engine", [0x1000])}}, 2, "are not pages of the guest's RAM"),
        ({"smmu": SmmuPlace(BASE + SIZE, 0, [])}, 2, "are not pages of the guest's RAM"),
        ({"ram": RamPlace("/proc/none/ram", SIZE)}, 125, "the RAM file /proc/none/ram cannot be opened"),
        ({"qtest": 99}, 2, "descriptor 99 is no socket"),
        ({"qtest": 0, "controller": CONTROLLER}, 2, "descriptor 0 is no socket"),
    ],
)
def test_what_is_refused(tmp_path: Path, qemu: MadeQemu, changes: dict[str, Any], code: int, sentence: str) -> None:
    argv = [sys.executable, "-m", "passthru.emulation.shared_ram", json.dumps(asdict(board(tmp_path, **changes)))]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    assert ended.returncode == code
    assert sentence in ended.stderr and "Traceback" not in ended.stderr


def test_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        argv = [sys.executable, "-m", "passthru.emulation.shared_ram", *arguments]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS)
        return ended.returncode, ended.stdout + ended.stderr

    assert run("--help")[0] == 0
    assert run()[0] == 2
    code, told = run(str(tmp_path / "none.json"))
    assert code == 2 and "none.json cannot be read" in told
    (tmp_path / "board.json").write_text('{"ram": 1}')
    code, told = run(str(tmp_path / "board.json"))
    assert code == 2 and told.startswith("ram of the board is 1")
