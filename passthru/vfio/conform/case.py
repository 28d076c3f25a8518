# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test of the suite is given: the device, the memory it sees, its stub, and words for what must come of a call.

Everything that a test makes by it (buffers, eventfds, mappings of memory and of regions, further openings) is given
back at the end of the test, whatever that is.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NoReturn

from passthru.vfio.conform.capabilities import LOST, irqs_of
from passthru.vfio.conform.mappings import TrackedDmaSpace
from passthru.vfio.transcript import name_of_errno

if TYPE_CHECKING:
    import mmap
    import random
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from passthru.vfio.buffer import Buffer
    from passthru.vfio.conform.bench import Bench
    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.device import DmaSpace, IrqInfo, Opened, Target, VfioDevice
    from passthru.vfio.stubs.stub import Stub
    from passthru.vfio.transcript import Transcript

CALLS_KEPT = 12  # of each device, for who reads of a failure


class Failed(Exception):
    """The device did not do what is demanded; the sentence says what was demanded and what came."""


class Missing(Exception):
    """What the test needs is not there; the sentence names it."""


class Case:
    """One test's view of the target: a context, at whose end what the test made is given back.

    ``random`` makes the same numbers in each run of the same seed; ``facts`` say what the target is.
    """

    def __init__(self, bench: Bench, facts: Facts, random: random.Random) -> None:
        self.target: Target = bench.target
        self.facts = facts
        self.random = random
        self.transcripts: list[Transcript] = []
        """Of each device that the test had."""
        self.calls: list[str] = []
        """The last calls before the test ended by an exception."""
        self._bench = bench
        self._stack = contextlib.ExitStack()
        self._tracked: TrackedDmaSpace | None = None

    def __enter__(self) -> Case:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self.calls = [line for transcript in self.transcripts for line in transcript.lines(CALLS_KEPT)]
        self._stack.__exit__(kind, error, trace)

    @property
    def device(self) -> VfioDevice:
        """The device, opened; interrupts de-assigned, nothing mapped."""
        return self._bench.opened.device

    @property
    def dma(self) -> DmaSpace:
        """The memory that the device sees. Raises Missing where it sees none."""
        if self._tracked is None:
            self._tracked = self.tracked(self._bench.opened)
        return self._tracked

    def tracked(self, opened: Opened) -> TrackedDmaSpace:
        """The memory of an opening of the test's own, unmapped at the end as that of ``dma``. Raises Missing."""
        if opened.dma is None:
            self.missing("the device reaches no memory of ours")
        tracked = TrackedDmaSpace(opened.dma)
        self._stack.callback(tracked.unmap_all)
        return tracked

    @property
    def stub(self) -> Stub:
        """What can make the device do something. Raises Missing where nobody has written one."""
        return self._bench.stub or self.missing("nobody has written a stub for this device")

    @property
    def unprepared(self) -> Exception | None:
        """What kept the stub from making the shared device ready, where something did."""
        _ = self._bench.opened
        return self._bench.unprepared

    def stub_of(self, opened: Opened) -> Stub:
        """The stub for an opening of the test's own, prepared. Raises Missing where nobody has written one."""
        return self._bench.prepare_stub(opened) or self.missing("nobody has written a stub for this device")

    def reset(self) -> None:
        """VFIO_DEVICE_RESET, and what the stub has to make ready after one."""
        self.device.reset()
        if stub := self._bench.stub:
            stub.prepare()

    def open(self) -> Opened:
        """Open the target once more; given back at the end."""
        opened = self.target.open()
        self._stack.callback(_close, opened)
        self.transcripts.append(opened.device.transcript)
        return opened

    def neighbour(self, name: str) -> VfioDevice:
        """Another device of the shared one's IOMMU group, closed at the end."""
        device = self._bench.opened.neighbour(name)
        self._stack.callback(device.close)
        return device

    def keep(self, giving_back: Callable[[], object]) -> None:
        """Have something called at the end of the test; what was kept last is called first."""
        self._stack.callback(giving_back)

    def buffer(self, size: int) -> Buffer:
        """``size`` bytes of memory, a memfd, that can be mapped for the device."""
        from passthru.vfio.buffer import Buffer

        buffer = Buffer(size)
        self._stack.callback(buffer.close)
        return buffer

    def map(self, device: VfioDevice, region: int, offset: int, size: int) -> mmap.mmap:
        """Bytes of a region in this process's memory; see `VfioDevice.map`."""
        mapped = device.map(region, offset, size)
        self._stack.callback(_unmap, mapped)
        return mapped

    def eventfd(self) -> int:
        """An eventfd, non-blocking."""
        eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._stack.callback(os.close, eventfd)
        return eventfd

    def signals(self, eventfd: int, within: float = 0.0, device: VfioDevice | None = None) -> int:
        """How often an eventfd was signalled since it was last asked; waits up to ``within`` seconds for the first.

        The device is served meanwhile, as it may ask for memory: it is the shared one where no other is named.
        """
        if within:
            (device or self.device).wait_readable(eventfd, within)
        try:
            return os.eventfd_read(eventfd)
        except BlockingIOError:
            return 0

    def irqs(self) -> tuple[IrqInfo, ...]:
        """The indexes that have interrupts and take eventfds."""
        return irqs_of(self.device)

    def expect(self, holds: object, sentence: str) -> None:
        """Demand that something holds; ``sentence`` says what came instead of what was demanded. Raises Failed."""
        if not holds:
            self.fail(sentence)

    def fail(self, sentence: str) -> NoReturn:
        """Raise Failed."""
        raise Failed(sentence)

    def missing(self, sentence: str) -> NoReturn:
        """Raise Missing: the test cannot judge this target."""
        raise Missing(sentence)

    @contextlib.contextmanager
    def may_be_refused(self) -> Iterator[None]:
        """What is done within may be refused, by whatever errno; a server that is lost is another matter."""
        try:
            yield
        except LOST:
            raise
        except OSError:
            pass

    @contextlib.contextmanager
    def refused(self, *codes: int, what: str) -> Iterator[None]:
        """Demand that what is done within is refused, with one of these errnos where any is given. Raises Failed."""
        try:
            yield
        except LOST:
            raise
        except OSError as error:
            if codes and error.errno not in codes:
                wanted = " or ".join(errno.errorcode[code] for code in codes)
                raise Failed(f"{what} was refused with {name_of_errno(error)} where {wanted} is demanded") from error
        else:
            raise Failed(f"{what} was not refused")


def _close(opened: Opened) -> None:
    with contextlib.suppress(OSError):  # the test is over, and may have closed it itself
        opened.close()


def _unmap(mapped: mmap.mmap) -> None:
    with contextlib.suppress(BufferError):  # a failed test's views of it are gone with its traceback
        mapped.close()
