# SPDX-License-Identifier: GPL-2.0-or-later
"""The machines that rigs are, QEMU's q35 and its virt for arm64: what differs between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.qemu.argv import Device

if TYPE_CHECKING:
    from collections.abc import Mapping

INTEL, AMD, VIRTIO, SMMUV3, RAM_SMMUV2, NONE = "intel", "amd", "virtio", "smmuv3", "ram-smmuv2", "none"
"""IOMMUs, as a scenario names them."""


@dataclass(frozen=True)
class Iommu:
    """An IOMMU: how QEMU is told of it, and its kernel."""

    device: Device | None = None
    """A device of its own, which comes before those that it is for."""
    option: str = ""
    """An option of the machine's."""
    words: tuple[str, ...] = ()
    """Kernel parameters."""
    fragment: str = ""
    """The fragment of the device tree (images/trees) that gives it the label ``iommu``."""


@dataclass(frozen=True)
class Board:
    """A machine; its first IOMMU is the default."""

    arch: str
    """Debian's word: amd64, arm64."""
    emulates: str
    """QEMU's and the kernel's word: x86_64, aarch64."""
    machine: str
    guest_machines: tuple[str, ...]
    """The machines that guests in it may have, the default first."""
    iommus: Mapping[str, Iommu]
    with_kvm: str = ""
    """The machine's option by which an emulated rig has KVM for its guest."""
    serials: int = 0
    """Serial ports that it may have beside the first one."""
    has_tree: bool = False
    """Whether its kernel is given a device tree."""


# AMD's IOMMU is a PCI device that QEMU puts into the first free slot, which is 01 as nobody else takes it. From 10.2 on
# it translates no DMA unless told to, and a guest's DMA hits the rig's own memory (seen with 11.1.3).
Q35 = Board(
    "amd64",
    "x86_64",
    "q35",
    ("pc", "q35"),
    {
        INTEL: Iommu(Device("intel-iommu", {"intremap": True, "caching-mode": True}), words=("intel_iommu=on",)),
        AMD: Iommu(
            Device("amd-iommu", {"intremap": True}, since={(10, 2): {"dma-remap": True}}), words=("amd_iommu=on",)
        ),
        VIRTIO: Iommu(Device("virtio-iommu-pci", {"addr": "01.0"})),
        NONE: Iommu(),
    },
)

# The interrupt controller is a GICv3 with an ITS, which KVM can give a guest as well. The SMMUv2 is RAM that a process
# of ours plays (emulation/shared_ram); Linux 6.1 cannot have the machine's SMMUv3 beside it.
VIRT = Board(
    "arm64",
    "aarch64",
    "virt,gic-version=3",
    ("virt",),
    {
        SMMUV3: Iommu(option="iommu=smmuv3", fragment="smmuv3"),
        RAM_SMMUV2: Iommu(fragment="ram-smmuv2"),
        NONE: Iommu(),
    },
    with_kvm="virtualization=on",
    serials=1,
    has_tree=True,
)

VIRT_GUEST = "virt"
"""The machine of a guest that has a device tree."""
_GUEST_MACHINES = {VIRT_GUEST: "virt,gic-version=3"}

BOARDS: Mapping[str, Board] = {board.arch: board for board in (Q35, VIRT)}


def guest_machine(name: str) -> str:
    """A guest's machine with its options: a rig's KVM gives its guest the interrupt controller that it has."""
    return _GUEST_MACHINES.get(name, name)
