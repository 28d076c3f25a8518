# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty's interrupts, as of "vfio/mtty: Overhaul mtty interrupt handling" (Linux 6.7): INTx and MSI.

Unlike vfio-pci's, events while INTx is masked are lost: there is no pending latch. MSI works through the client's
own trigger although there is no MSI capability. No eventfd can mask or unmask.
"""

from __future__ import annotations

import errno

from passthru.emulation.eventfd import Eventfd
from passthru.emulation.interrupts import IrqIndex, IrqSet
from passthru.vfio import linux_vfio as vfio

_MASK = vfio.VFIO_IRQ_SET_ACTION_MASK
_UNMASK = vfio.VFIO_IRQ_SET_ACTION_UNMASK
_TRIGGER = vfio.VFIO_IRQ_SET_ACTION_TRIGGER


class _Index(IrqIndex):
    limit = vfio.VFIO_PCI_NUM_IRQS  # mtty_ioctl checks start + count against the number of indices

    def __init__(self, owner: MttyInterrupts, flags: int) -> None:
        self._owner = owner
        self._flags = flags
        self.eventfd: Eventfd | None = None

    def info(self) -> tuple[int, int]:
        return self._flags, 1

    def set_irqs(self, request: IrqSet) -> None:
        # None or several actions fall through mtty's switch: they succeed and do nothing.
        if request.action == _TRIGGER:
            self._set_trigger(request)
        elif request.action in (_MASK, _UNMASK):
            self._set_mask(request)

    def release(self) -> None:
        if self.eventfd:
            self.eventfd.close()
            self.eventfd = None
            self._owner.active = None

    def _set_trigger(self, request: IrqSet) -> None:
        if self._owner.active is self and request.disables_all:
            self.release()
            return
        if self._owner.active not in (None, self) or (request.start, request.count) != (0, 1):
            raise OSError(errno.EINVAL, "another interrupt is active, or this is not its one line")
        if request.data == vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            self.release()
            if request.descriptors[0] is not None:
                self.eventfd = Eventfd(request.descriptors[0])
                self._owner.active = self
            return
        if self._owner.active is not self:
            raise OSError(errno.EINVAL, "the interrupt is not enabled")
        if request.affected():
            self._owner.trigger()

    def _set_mask(self, request: IrqSet) -> None:
        raise OSError(errno.ENOTTY, "MSI cannot be masked")


class _Intx(_Index):
    masked = False

    def release(self) -> None:
        if self.eventfd:
            self.masked = False
        super().release()

    def _set_mask(self, request: IrqSet) -> None:
        if self._owner.active is not self or (request.start, request.count) != (0, 1):
            raise OSError(errno.EINVAL, "INTx is not enabled, or this is not its one line")
        if request.data == vfio.VFIO_IRQ_SET_DATA_EVENTFD:
            raise OSError(errno.ENOTTY, "no eventfd can mask or unmask INTx")
        if request.affected():
            self.masked = request.action == _MASK


class _Absent(IrqIndex):
    limit = vfio.VFIO_PCI_NUM_IRQS

    def set_irqs(self, request: IrqSet) -> None:
        raise OSError(errno.ENOTTY, "mtty has no such interrupt")


class MttyInterrupts:
    """The five indices of a PCI device, of which one is active at a time."""

    def __init__(self) -> None:
        self.active: _Index | None = None
        self._intx = _Intx(
            self, vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED
        )
        self._msi = _Index(self, vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_NORESIZE)
        self.indices: tuple[IrqIndex, ...] = (self._intx, self._msi, _Absent(), _Absent(), _Absent())

    def trigger(self) -> None:
        """An event of a port (mtty_trigger_interrupt)."""
        if self.active is self._msi and self._msi.eventfd:
            self._msi.eventfd.signal()
        elif self.active is self._intx and self._intx.eventfd and not self._intx.masked:
            self._intx.eventfd.signal()
            self._intx.masked = True
