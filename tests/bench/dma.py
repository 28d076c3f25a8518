# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA of 16 MiB through shared RAM, by the dma-engine in a server of its own, against a memcpy of as much.

A transfer counts from the write of its command register until its interrupt is there: what a guest waits for. The
memcpy goes from one shared mapping to another, as the transfer does. They take turns, and both have been done once
before, so that every page is there; the medians count.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import mmap
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from tests.unit.emulation.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 16 << 20
TURNS = 15
SECONDS = 60
RAM = 1 << 32  # where the client's memory is for the device

_BAR, _CONFIG = vfio.VFIO_PCI_BAR0_REGION_INDEX, vfio.VFIO_PCI_CONFIG_REGION_INDEX
_SOURCE, _DESTINATION, _COUNT, _COMMAND, _RESULT, _ACKNOWLEDGE = 0x80, 0x88, 0x90, 0x98, 0xA0, 0x64
_START, _TO_RAM, _INTERRUPT, _DONE = 1, 2, 4, 1
_ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


def measure(turns: int = TURNS) -> dict[str, float]:
    """Seconds (medians) of a transfer each way and of a memcpy, and ``ratio``, the slower way to the memcpy."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(_served())
        ram, memory = stack.enter_context(_shared())
        _, other = stack.enter_context(_shared())
        memory[:] = os.urandom(1 << 20) * (SIZE >> 20)
        device = _Engine(client, ram, stack)
        ways: dict[str, Callable[[], object]] = {
            "to_device_seconds": lambda: device.transfer(to_ram=False),
            "to_ram_seconds": lambda: device.transfer(to_ram=True),
            "memcpy_seconds": _memcpy(other, memory),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(turns + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if turn:
                    taken[name].append(time.perf_counter() - began)
    figures = {name: statistics.median(values) for name, values in taken.items()}
    slower = max(figures["to_device_seconds"], figures["to_ram_seconds"])
    return {**figures, "ratio": round(slower / figures["memcpy_seconds"], 2)}


class _Engine:
    """The device as a driver has it: bus mastering on, RAM mapped, the interrupt of its transfers an eventfd."""

    def __init__(self, client: Client, ram: int, stack: contextlib.ExitStack) -> None:
        self._client = client
        self._eventfd = os.eventfd(0, os.EFD_CLOEXEC)
        stack.callback(os.close, self._eventfd)
        self._signalled = select.poll()
        self._signalled.register(self._eventfd, select.POLLIN)
        client.version()
        client.write(_CONFIG, 0x04, (6).to_bytes(2, "little"))
        _demand(client.map(RAM, SIZE, descriptors=[ram]) == "", "the memory cannot be mapped")
        error = client.set_irqs(_ASSIGN, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, descriptors=[self._eventfd])
        _demand(error == "", "the interrupt cannot be enabled")

    def transfer(self, *, to_ram: bool) -> None:
        """All of the buffer, until the interrupt."""
        source, destination = (SIZE, RAM) if to_ram else (RAM, SIZE)
        for register, value in ((_SOURCE, source), (_DESTINATION, destination), (_COUNT, SIZE)):
            self._client.write(_BAR, register, value.to_bytes(8, "little"))
        command = _START | _INTERRUPT | _TO_RAM * to_ram
        self._client.write(_BAR, _COMMAND, command.to_bytes(8, "little"))
        _demand(bool(self._signalled.poll(SECONDS * 1000)), "no interrupt came")
        os.eventfd_read(self._eventfd)
        self._client.write(_BAR, _ACKNOWLEDGE, b"\xff" * 4)
        _demand(self._client.read(_BAR, _RESULT, 4)[0] == _DONE, "the transfer failed")


@contextlib.contextmanager
def _served() -> Iterator[Client]:
    with tempfile.TemporaryDirectory(prefix="passthru-bench-") as made:
        path = Path(made) / "engine.sock"
        options = json.dumps({"buffer_kib": SIZE >> 10})
        command = [
            sys.executable,
            "-m",
            "passthru.emulation",
            "dma-engine",
            "--options",
            options,
            "--socket",
            str(path),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            try:
                assert server.stdout is not None
                _demand(bool(server.stdout.readline()), "the device server did not start")
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(path))
                    yield Client(connection)
            finally:
                server.terminate()
                server.wait(timeout=SECONDS)


@contextlib.contextmanager
def _shared() -> Iterator[tuple[int, mmap.mmap]]:
    """Memory as QEMU's memory-backend-memfd has it, seals included."""
    descriptor = os.memfd_create("ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, SIZE)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        with mmap.mmap(descriptor, SIZE) as memory:
            yield descriptor, memory
    finally:
        os.close(descriptor)


def _memcpy(target: mmap.mmap, source: mmap.mmap) -> Callable[[], object]:
    def copy() -> None:
        # The views live for the call only: a mapping that is looked at cannot be closed.
        to, of = (ctypes.c_char.from_buffer(memory) for memory in (target, source))
        ctypes.memmove(ctypes.addressof(to), ctypes.addressof(of), SIZE)

    return copy


def _demand(fulfilled: bool, otherwise: str) -> None:
    if not fulfilled:
        raise RuntimeError(otherwise)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
