# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts of a device: VFIO's irq indices with their sub-indices, eventfds and masks.

`Interrupts` is how vfio-pci behaves (drivers/vfio/pci/vfio_pci_intrs.c); models of devices that behave otherwise
override `IrqIndex` themselves.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.emulation.eventfd import Eventfd, take_eventfds
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.emulation.model import Plug


@dataclass(frozen=True)
class IrqSet:
    """A ``struct vfio_irq_set`` that the plug has checked: known flags, one kind of data, no overflow.

    ``bools`` has ``count`` entries with DATA_BOOL, ``descriptors`` with DATA_EVENTFD; None there means deassign. The
    descriptors are the plug's: who keeps one makes a duplicate.
    """

    flags: int
    start: int
    count: int
    bools: Sequence[bool] = ()
    descriptors: Sequence[int | None] = ()

    @property
    def action(self) -> int:
        """One of ``VFIO_IRQ_SET_ACTION_*``, or none or several of them."""
        return self.flags & vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK

    @property
    def data(self) -> int:
        """Exactly one of ``VFIO_IRQ_SET_DATA_*``."""
        return self.flags & vfio.VFIO_IRQ_SET_DATA_TYPE_MASK

    @property
    def disables_all(self) -> bool:
        """The special case: TRIGGER, no data, count 0."""
        return not self.count and bool(self.flags & vfio.VFIO_IRQ_SET_DATA_NONE)

    def affected(self) -> list[int]:
        """The sub-indices to act on; with DATA_BOOL those that are true."""
        if self.data == vfio.VFIO_IRQ_SET_DATA_BOOL:
            return [self.start + number for number, wanted in enumerate(self.bools) if wanted]
        return list(range(self.start, self.start + self.count))


class IrqIndex:
    """One irq index; this one is absent. ``limit`` bounds start + count of a SET_IRQS.

    ``wire`` is the line itself, of a plug that has one: it takes each new level.
    """

    limit = 0
    wire: Callable[[bool], None] | None = None

    def info(self) -> tuple[int, int]:
        """``VFIO_IRQ_INFO_*`` flags and count; raises OSError EINVAL for an absent index."""
        raise OSError(errno.EINVAL, "no such interrupt")

    def set_irqs(self, request: IrqSet) -> None:
        """VFIO_DEVICE_SET_IRQS; raises OSError where it is refused."""
        raise OSError(errno.EINVAL, "no such interrupt")

    def plugged(self, plug: Plug) -> None:
        """A client has come."""

    def release(self) -> None:
        """The client has left: let its eventfds go."""


class ActiveIndex:
    """Which of a device's indices has eventfds: of INTx, MSI and MSI-X only one can."""

    index: IrqIndex | None = None


@dataclass
class _Line:
    trigger: Eventfd | None = None
    unmask: Eventfd | None = None
    masked: bool = False
    pending: bool = False


class Interrupts(IrqIndex):
    """An index that behaves as vfio-pci's.

    - With MASKABLE, a masked line remembers one event and tells it when it is unmasked; with AUTOMASKED, each event
      masks. An unmask eventfd works, a mask eventfd is ENOTTY. Without MASKABLE, masking is ENOTTY.
    - With NORESIZE, lines are enabled as a set, from sub-index 0 on. QEMU sends a large set in several messages, so
      one that begins where the set ends continues it; one that leaves a gap is EINVAL.
    - With ``active`` shared between indices, only one of them can be enabled.
    """

    def __init__(self, flags: int, count: int, active: ActiveIndex | None = None) -> None:
        self.flags = flags
        self.limit = count
        self._active = active or ActiveIndex()
        self._lines: dict[int, _Line] = {}
        self._enabled = 0
        self._plug: Plug | None = None

    def info(self) -> tuple[int, int]:
        return self.flags, self.limit

    def plugged(self, plug: Plug) -> None:
        self._plug = plug

    def trigger(self, number: int = 0) -> None:
        """The device raises line ``number``; without an eventfd or a wire nothing happens."""
        if self.wire is not None:
            self.wire(True)
            self.wire(False)
        line = self._lines.get(number)
        if line is None or line.trigger is None:
            return
        if line.masked:
            line.pending = True
            return
        line.masked = bool(self.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED)
        line.trigger.signal()

    def set_irqs(self, request: IrqSet) -> None:
        if request.action == vfio.VFIO_IRQ_SET_ACTION_TRIGGER:
            self._set_trigger(request)
        elif request.action in (vfio.VFIO_IRQ_SET_ACTION_MASK, vfio.VFIO_IRQ_SET_ACTION_UNMASK):
            self._set_mask(request)
        else:
            raise OSError(errno.EINVAL, "none or several of mask, unmask and trigger")

    def release(self) -> None:
        for line in self._lines.values():
            self._forget_unmask(line)
            if line.trigger:
                line.trigger.close()
        self._lines.clear()
        self._enabled = 0
        if self._active.index is self:
            self._active.index = None

    def _set_trigger(self, request: IrqSet) -> None:
        if request.disables_all:
            self.release()
            return
        if self._active.index not in (None, self):
            raise OSError(errno.EINVAL, "another kind of interrupt is enabled")
        if request.data == vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            if self.flags & vfio.VFIO_IRQ_INFO_NORESIZE and request.start > self._enabled:
                raise OSError(errno.EINVAL, "the set of interrupts cannot grow")
            for number, eventfd in enumerate(take_eventfds(request.descriptors), request.start):
                self._assign(number, eventfd)
            self._enabled = max(self._enabled, request.start + request.count)
            self._active.index = self
            return
        if self._active.index is not self:
            raise OSError(errno.EINVAL, "the interrupt is not enabled")
        for number in request.affected():
            self.trigger(number)

    def _assign(self, number: int, fresh: Eventfd | None) -> None:
        line = self._lines.setdefault(number, _Line())
        if line.trigger:
            line.trigger.close()
        line.trigger = fresh
        line.masked = line.pending = False

    def _set_mask(self, request: IrqSet) -> None:
        if not self.flags & vfio.VFIO_IRQ_INFO_MASKABLE:
            raise OSError(errno.ENOTTY, "this interrupt cannot be masked")
        if self._active.index is not self or not request.count:
            raise OSError(errno.EINVAL, "the interrupt is not enabled")
        unmask = request.action == vfio.VFIO_IRQ_SET_ACTION_UNMASK
        if request.data == vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            if not unmask:
                raise OSError(errno.ENOTTY, "there is no mask eventfd")
            for number, eventfd in enumerate(take_eventfds(request.descriptors), request.start):
                self._assign_unmask(number, eventfd)
            return
        for number in request.affected():
            if unmask:
                self._unmask(self._lines.setdefault(number, _Line()))
            else:
                self._lines.setdefault(number, _Line()).masked = True

    def _unmask(self, line: _Line) -> None:
        line.masked = False
        if line.pending and line.trigger:
            line.pending = False
            line.masked = bool(self.flags & vfio.VFIO_IRQ_INFO_AUTOMASKED)
            line.trigger.signal()

    def _assign_unmask(self, number: int, fresh: Eventfd | None) -> None:
        assert self._plug is not None  # SET_IRQS comes from a client
        line = self._lines.setdefault(number, _Line())
        self._forget_unmask(line)
        line.unmask = fresh
        if fresh is not None:

            def unmask(line: _Line = line, eventfd: Eventfd = fresh) -> None:
                # The client may have read it itself, or given another one since this was deferred.
                if eventfd.drain():
                    self._unmask(line)

            self._plug.watch(fresh.descriptor, unmask)

    def _forget_unmask(self, line: _Line) -> None:
        if line.unmask and self._plug:
            self._plug.unwatch(line.unmask.descriptor)
            line.unmask.close()
            line.unmask = None


class LevelLine(Interrupts):
    """One line with a level, INTx or a platform device's, that is asserted as long as ``asserted`` says so.

    It interrupts again when it is unmasked, or given an eventfd, and still asserted. The device calls `evaluate`
    whenever that may have changed.
    """

    def __init__(self, asserted: Callable[[], bool], active: ActiveIndex | None = None) -> None:
        flags = vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED
        super().__init__(flags, 1, active)
        self._asserted = asserted

    def evaluate(self) -> None:
        """Interrupt if there is a cause; while the line is masked that waits."""
        asserted = self._asserted()
        if self.wire is not None:
            self.wire(asserted)
        elif asserted:
            self.trigger()

    def set_irqs(self, request: IrqSet) -> None:
        super().set_irqs(request)
        if request.data == vfio.VFIO_IRQ_SET_DATA_EVENTFD and request.action == vfio.VFIO_IRQ_SET_ACTION_TRIGGER:
            self.evaluate()

    def _unmask(self, line: _Line) -> None:
        line.masked = line.pending = False
        self.evaluate()
