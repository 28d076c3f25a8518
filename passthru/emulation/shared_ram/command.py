# SPDX-License-Identifier: GPL-2.0-or-later
"""The process that is all devices of one machine's shared RAM: `serve`, and the command line around it.

Errors are one sentence on stderr: exit 2 for what the caller wrote wrong, 125 for what the machine does not allow.
SIGTERM, SIGINT and SIGHUP end it with 0, and so does the end of QEMU.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from passthru.emulation.ending import ended_by_signals
from passthru.emulation.making import make_device
from passthru.emulation.models import catalogue
from passthru.emulation.shared_ram.board import parse_board
from passthru.emulation.shared_ram.controller import find_controller
from passthru.emulation.shared_ram.given import connected, run_given, tell_ready
from passthru.emulation.shared_ram.qtest import ANSWER_SECONDS, Qtest
from passthru.emulation.shared_ram.ram import GuestRam
from passthru.emulation.shared_ram.rounds import DevicePlug, Rounds
from passthru.emulation.shared_ram.smmu import SIZE, Smmu
from passthru.emulation.shared_ram.streams import Messages, StreamMemory
from passthru.emulation.windows import Window
from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from passthru.emulation.interrupts import IrqIndex
    from passthru.emulation.model import Model
    from passthru.emulation.shared_ram.board import Board, Seat

USAGE = "usage: python -m passthru.emulation.shared_ram (BOARD.json | JSON)"
READY = "the devices are in place"
"""What is printed, on a line, when RAM holds all that a kernel must find there: QEMU may start from now on."""


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    return run_given(arguments, "the board", USAGE, lambda text: serve(parse_board(text)))


def serve(board: Board) -> None:
    """Be the devices of ``board`` until QEMU ends or SIGTERM, SIGINT or SIGHUP comes.

    For the main thread of a process that does nothing else. Raises UserMistake (also where a model of the user's own
    breaks) and Unusable.
    """
    with ExitStack() as stack, ended_by_signals():
        ram = GuestRam(board.ram.path, board.ram.base, board.ram.size)
        stack.callback(ram.close)
        line = _Line()
        smmu = None
        if (place := board.smmu) is not None:
            registers = ram.part(place.address, SIZE)
            smmu = Smmu(registers, ram, line.pulse, global_spi=place.global_spi, context_spis=place.context_spis)
            stack.callback(smmu.release)
            smmu.power_on()
        devices = [_placed(name, seat, ram, stack) for name, seat in board.devices.items()]
        tell_ready(READY, board.ready)
        qtest = line.qtest = _qtest(board)
        stack.callback(qtest.close)
        rounds = Rounds(qtest)
        messages = _messages(board, qtest)
        for seat, model in zip(board.devices.values(), devices, strict=True):
            _wire(model.irqs, seat.spis, qtest)
            model.plugged(DevicePlug(rounds, _streams(ram, smmu, messages, seat.stream)))
        rounds.run(devices)


class _Line:
    """The SMMU's interrupts: it is there before QEMU is."""

    qtest: Qtest | None = None

    def pulse(self, spi: int) -> None:
        assert self.qtest is not None  # nothing is translated before the devices are plugged in
        self.qtest.pulse(spi)


def _placed(name: str, seat: Seat, ram: GuestRam, stack: ExitStack) -> Model:
    """The device ``name``, its windows in RAM with their first values."""
    model, own = make_device(seat.model, seat.options, catalogue(), seat.package_root or None)
    if own:
        stack.enter_context(own.breaking())
    if model.access != "memory":
        raise UserMistake(f"device {name}: {seat.model} must see each access, and RAM shows none; use vfio-user for it")
    if len(seat.regions) != len(model.regions) or len(seat.spis) > len(model.irqs):
        raise UserMistake(
            f"device {name} has {len(seat.regions)} regions and {len(seat.spis)} spis; "
            f"{seat.model} has {len(model.regions)} and at most {len(model.irqs)}"
        )
    stack.callback(model.close)
    for region, address in zip(model.regions, seat.regions, strict=True):
        if not isinstance(region, Window):
            raise UserMistake(f"device {name}: {seat.model} has a region that is no window, so RAM cannot be it")
        region.place(ram.part(address, region.size))
    model.power_on()
    return model


def _qtest(board: Board) -> Qtest:
    controller = board.controller
    if not controller and board.qmp != "":
        with connected(board.qmp) as connection:
            controller = find_controller(connection, ANSWER_SECONDS)
    return Qtest(connected(board.qtest), controller)


def _messages(board: Board, qtest: Qtest) -> Messages | None:
    if (place := board.messages) is None:
        return None
    return Messages(place.doorbell, frozenset(place.streams), lambda value: qtest.write_word(place.doorbell, value))


def _streams(ram: GuestRam, smmu: Smmu | None, messages: Messages | None, first: int) -> Callable[[int], StreamMemory]:
    return lambda number: StreamMemory(ram, smmu, messages, first + number)


def _wire(irqs: Iterable[IrqIndex], spis: Iterable[int], qtest: Qtest) -> None:
    for irq, spi in zip(irqs, spis, strict=False):
        irq.wire = lambda level, spi=spi: qtest.set_line(spi, level)
