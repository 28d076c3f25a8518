# SPDX-License-Identifier: GPL-2.0-or-later
"""The loop that looks at all devices, and does what they defer and watch for."""

from __future__ import annotations

import errno
import select
from collections import deque
from typing import TYPE_CHECKING, Protocol

from passthru.emulation.complaints import Complaints
from passthru.emulation.shared_ram.pace import IDLE_SECONDS, Pace
from passthru.emulation.shared_ram.qtest import QemuGone
from passthru.errors import PassthruError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.emulation.model import AddressSpace
    from passthru.emulation.shared_ram.qtest import Qtest
    from passthru.emulation.shared_ram.streams import StreamMemory

MOST_DEFERRED = 256


class Looking(Protocol):
    """A device, or what else is looked at in each round."""

    def look(self) -> bool:
        """See `model.Model.look`."""


class Rounds:
    """Looks at devices until QEMU has gone; ``qtest`` tells that. ``idle`` is the longest time between two looks."""

    def __init__(self, qtest: Qtest, idle: float = IDLE_SECONDS) -> None:
        self._qtest = qtest
        self._idle = idle
        self._deferred: deque[Callable[[], None]] = deque()
        self._watched: dict[int, Callable[[], None]] = {}
        self._complaints = Complaints()

    def run(self, devices: Sequence[Looking]) -> None:
        """Returns when QEMU has gone. Raises Unusable where it no longer does as it is told."""
        pace = Pace(idle=self._idle)
        looks = [device.look for device in devices]
        try:
            while True:
                busy = False
                for look in looks:
                    busy |= self._guarded(look)
                busy |= self._work_off()
                self._wait(pace.after(busy=busy))
        except QemuGone:
            return

    def defer(self, work: Callable[[], None]) -> None:
        """See `model.Plug.defer`."""
        if len(self._deferred) >= MOST_DEFERRED:
            raise OSError(errno.EBUSY, f"{MOST_DEFERRED} pieces of work wait already")
        self._deferred.append(work)

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        """See `model.Plug.watch`."""
        self._watched[descriptor] = work

    def unwatch(self, descriptor: int) -> None:
        """See `model.Plug.unwatch`."""
        self._watched.pop(descriptor, None)

    def _work_off(self) -> bool:
        """Do what was deferred until now."""
        pieces = len(self._deferred)
        for _ in range(pieces):
            self._guarded(self._deferred.popleft())
        return pieces > 0

    def _wait(self, seconds: float) -> None:
        ready, _, _ = select.select((self._qtest.descriptor, *self._watched), (), (), seconds)
        for descriptor in ready:
            if descriptor == self._qtest.descriptor:
                self._qtest.check_alive()
            elif work := self._watched.get(descriptor):
                self._guarded(work)

    def _guarded(self, work: Callable[[], object]) -> bool:
        """Whether ``work`` says that it did something; a mistake of a model does not end the others."""
        try:
            return bool(work())
        except (PassthruError, QemuGone):
            raise
        except Exception as error:
            self._complaints.mistake(error)
            return False


class DevicePlug:
    """The `Plug` of one device: ``streams`` gives the memory of its streams by number."""

    def __init__(self, rounds: Rounds, streams: Callable[[int], StreamMemory]) -> None:
        self._streams = streams
        self._dma = streams(0)
        self.defer = rounds.defer
        self.watch = rounds.watch
        self.unwatch = rounds.unwatch

    @property
    def dma(self) -> AddressSpace:
        """Stream 0."""
        return self._dma

    def stream(self, number: int) -> AddressSpace:
        """See `model.Plug.stream`."""
        return self._streams(number)
