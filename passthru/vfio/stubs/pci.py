# SPDX-License-Identifier: GPL-2.0-or-later
"""What a driver does with the config space of any PCI device. Names are those of <linux/pci_regs.h>."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.linux_vfio import VFIO_IRQ_INFO_EVENTFD, VFIO_PCI_CONFIG_REGION_INDEX
from passthru.vfio.stubs.registers import Registers

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

PCI_COMMAND, PCI_STATUS = 0x04, 0x06
PCI_COMMAND_IO, PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER, PCI_COMMAND_INTX_DISABLE = 0x001, 0x002, 0x004, 0x400
PCI_STATUS_CAP_LIST = 0x10
PCI_CAPABILITY_LIST = 0x34
PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX = 0x05, 0x11
_MOST_CAPABILITIES = 48  # as many as fit


def decode_and_master(device: VfioDevice) -> None:
    """Let a device answer at its base addresses and master the bus."""
    config = Registers(device, VFIO_PCI_CONFIG_REGION_INDEX, 2)
    on = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER
    config[PCI_COMMAND] = config[PCI_COMMAND] & ~PCI_COMMAND_INTX_DISABLE | on


def find_capability(device: VfioDevice, identity: int) -> int:
    """Where a capability is in config space; 0 where there is none."""
    config = Registers(device, VFIO_PCI_CONFIG_REGION_INDEX, 1)
    if not config[PCI_STATUS] & PCI_STATUS_CAP_LIST:
        return 0
    place = config[PCI_CAPABILITY_LIST] & 0xFC
    for _ in range(_MOST_CAPABILITIES):
        if not place or config[place] == identity:
            break
        place = config[place + 1] & 0xFC
    return place


def interrupts_of(device: VfioDevice, *indexes: int) -> dict[int, int]:
    """Those of the IRQ indexes that the device has, each with the number of its interrupts."""
    found = {}
    for index in indexes:
        try:
            info = device.irq_info(index)
        except (ConnectionError, TimeoutError):
            raise
        except OSError:  # not there at all, as ERR is not with conventional PCI
            continue
        if info.count and info.flags & VFIO_IRQ_INFO_EVENTFD:
            found[index] = info.count
    return found
