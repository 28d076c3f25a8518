# SPDX-License-Identifier: GPL-2.0-or-later
"""A device out of nothing, for the suite's own tests: what it was asked is written down."""

from __future__ import annotations

import errno
import json
import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.conform.bench import Bench
from passthru.vfio.conform.case import Case
from passthru.vfio.conform.facts import Facts
from passthru.vfio.conform.registry import Test
from passthru.vfio.conform.report import Report
from passthru.vfio.conform.runner import Runner
from passthru.vfio.device import DeviceInfo, DmaInfo, IrqInfo
from passthru.vfio.stubs.stub import Identity
from passthru.vfio.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.vfio.device import Target, VfioDevice
    from passthru.vfio.stubs.stub import Stub


class MadeDevice:
    """INTx and nothing else."""

    transport = "kernel"

    def __init__(self, log: list[str]) -> None:
        self.transcript = Transcript()
        self.log = log
        self.dead = False

    def info(self) -> DeviceInfo:
        if self.dead:
            raise ConnectionError("it is gone")
        return DeviceInfo(vfio.VFIO_DEVICE_FLAGS_PCI, 9, 1)

    def irq_info(self, index: int) -> IrqInfo:
        return IrqInfo(index, vfio.VFIO_IRQ_INFO_EVENTFD, 1)

    def set_irqs(self, flags: int, index: int, start: int = 0, count: int = 1, **_: object) -> None:
        self.log.append(f"set_irqs {flags:#x} {count}")
        self.transcript.note(("set_irqs", flags))
        if count:
            raise OSError(errno.EINVAL, "not enabled")

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        return False


class MadeDma:
    """Memory that is only written down."""

    def __init__(self, log: list[str]) -> None:
        self._log = log

    def info(self) -> DmaInfo:
        return DmaInfo(0x1000)

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = 3) -> None:
        self._log.append(f"map {iova:#x}")

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        self._log.append(f"unmap {iova:#x}")
        return size


class MadeOpened:
    """One opening."""

    def __init__(self, log: list[str]) -> None:
        self.device = MadeDevice(log)
        self.dma = MadeDma(log)
        self._log = log

    def close(self) -> None:
        self._log.append("close")


class MadeTarget:
    """Opens as often as it may."""

    transport = "kernel"
    title = "a made device"

    def __init__(self, openings: int = 100) -> None:
        self.log: list[str] = []
        self._openings = openings

    def open(self) -> MadeOpened:
        if not self._openings:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        self._openings -= 1
        self.log.append("open")
        return MadeOpened(self.log)


def made_bench(target: MadeTarget, stub_of: Callable[[VfioDevice], Stub | None] = lambda _: None) -> Bench:
    """A bench with a made target on it."""
    return Bench(cast("Target", target), stub_of)


def made_facts(**changed: Any) -> Facts:
    """Facts of the made device."""
    given: dict[str, Any] = {"transport": "kernel", "kernel": "6.1.0-1", "driver": "made", "capabilities": frozenset()}
    return Facts(**{"identity": Identity("pci"), **given, **changed})


def made_test(body: Callable[[Case], None], *needs: str, fresh: bool = False) -> Test:
    """A test out of a function."""
    return Test(body.__name__.replace("_", "-"), "made", "It is demanded.", "the document", needs, body, fresh)


def run(
    *tests: Test, target: MadeTarget | None = None, facts: Facts | None = None, limit: float = 20.0, **options: Any
) -> list[dict[str, Any]]:
    """Run tests against the made device; the lines of the report."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as lines:
        try:
            bench = made_bench(target or MadeTarget())
            runner = Runner(bench, facts or made_facts(), Report(writer), seed=1, limit=limit, **options)
            runner.run(tests)
        finally:
            os.close(writer)
        return [json.loads(line) for line in lines]


def verdicts(lines: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """The verdict and its sentence of each test."""
    return {line["test"]: (line["verdict"], line["summary"]) for line in lines if line["event"] == "ended"}


@contextmanager
def made_case(target: MadeTarget | None = None) -> Iterator[Case]:
    """A case of the made device."""
    with Case(made_bench(target or MadeTarget()), made_facts(), random.Random(1)) as case:
        yield case
