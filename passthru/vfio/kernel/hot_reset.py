# SPDX-License-Identifier: GPL-2.0-or-later
"""The reset of a PCI bus or slot, which concerns more devices than the one that asks for it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.answers import fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.vfio.kernel.device import KernelDevice

MOST_DEVICES = 4096


@dataclass(frozen=True)
class DependentDevice:
    """A device that is reset as well; ``owner`` is its group, or its id in our iommufd (VFIO_PCI_DEVID_*)."""

    owner: int
    address: str
    """As in sysfs: 0000:00:05.0."""


@dataclass(frozen=True)
class HotResetInfo:
    """``struct vfio_pci_hot_reset_info``; ``flags`` are VFIO_PCI_HOT_RESET_FLAG_*."""

    flags: int
    devices: tuple[DependentDevice, ...]


def hot_reset_info(device: KernelDevice) -> HotResetInfo:
    """VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. Raises OSError, ENODEV where no bus or slot can be reset; Malformed.

    Unlike the other info calls, too little room is an error here, ENOSPC, which tells the number of devices.
    """
    number = vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
    room = 0
    while True:
        asked = bytearray(vfio.HOT_RESET_INFO.size + room * vfio.DEPENDENT_DEVICE.size)
        vfio.HOT_RESET_INFO.pack_into(asked, 0, len(asked), 0, 0)
        try:
            device.descriptor.in_place("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", number, asked)
        except OSError as error:
            count = vfio.HOT_RESET_INFO.unpack_from(asked)[2]
            if error.errno != errno.ENOSPC or not room < count <= MOST_DEVICES:
                raise
            room = count
            continue
        _, flags, count = fields("vfio_pci_hot_reset_info", vfio.HOT_RESET_INFO, bytes(asked))
        return HotResetInfo(flags, tuple(_devices(bytes(asked[vfio.HOT_RESET_INFO.size :]), count)))


def hot_reset(device: KernelDevice, groups: Sequence[int] = ()) -> None:
    """VFIO_DEVICE_PCI_HOT_RESET; ``groups`` are the descriptors of all groups concerned, none by a device's file."""
    argsz = vfio.HOT_RESET.size + len(groups) * vfio.DESCRIPTOR.size
    asked = vfio.HOT_RESET.pack(argsz, 0, len(groups)) + b"".join(map(vfio.DESCRIPTOR.pack, groups))
    device.descriptor.structure("VFIO_DEVICE_PCI_HOT_RESET", vfio.VFIO_DEVICE_PCI_HOT_RESET, asked)


def _devices(data: bytes, count: int) -> list[DependentDevice]:
    found = []
    for place in range(count):
        each = data[place * vfio.DEPENDENT_DEVICE.size :]
        owner, segment, bus, devfn = fields("vfio_pci_dependent_device", vfio.DEPENDENT_DEVICE, each)
        found.append(DependentDevice(owner, f"{segment:04x}:{bus:02x}:{devfn >> 3:02x}.{devfn & 7}"))
    return found
