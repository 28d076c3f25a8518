# SPDX-License-Identifier: GPL-2.0-or-later
"""The container as its process holds it: opened by VFIO, with those objects that are used; the guest's RAM mapped."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from passthru.emulation.fsl_mc_bridge.message import SIZE
from passthru.errors import Unusable, UserMistake
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.kernel.device import KernelDevice
from passthru.vfio.kernel.target import KernelTarget

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthru.emulation.fsl_mc_bridge.settings import Settings
    from passthru.vfio.device import VfioDevice
    from passthru.vfio.kernel.target import OpenedByGroup

_PORTAL = 0
"""The region of a container that is its MC portal."""


class HeldContainer:
    """``opened`` is ours to close."""

    def __init__(self, name: str, opened: OpenedByGroup) -> None:
        self.name = name
        self._opened = opened
        self._objects: dict[str, KernelDevice] = {}

    def find(self, name: str) -> VfioDevice | None:
        """The container or one of its objects; None for one that VFIO has no device for."""
        if name == self.name:
            return self._opened.device
        if name not in self._objects:
            try:
                self._objects[name] = KernelDevice(self._opened.group.device(name))
            except OSError as error:
                if error.errno != errno.ENODEV:
                    raise
                return None
        return self._objects[name]

    def send(self, command: bytes) -> bytes:
        """A command through the container's portal; returns the answer. Raises OSError."""
        device = self._opened.device
        device.write(_PORTAL, 0, command)
        return device.read(_PORTAL, 0, SIZE)

    def show(self, path: str, base: int, places: Iterable[tuple[int, int]]) -> None:
        """Let the objects see these parts (address, size) of the RAM file ``path`` at the guest's own addresses.

        ``base`` is the address of the file's first byte. Raises Unusable.
        """
        dma = self._opened.dma
        assert dma is not None  # as it was opened with an IOMMU
        memory = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            for address, size in places:
                try:
                    dma.map(address, size, memory, address - base)
                except OSError as error:
                    raise Unusable(
                        f"{self.name} cannot see the guest's RAM, {size:#x} bytes at {address:#x}: {error.strerror}; "
                        "is there so much memory that may be locked?"
                    ) from error
        finally:
            os.close(memory)

    def close(self) -> None:
        """Close the objects and the container, which the kernel resets then."""
        for device in self._objects.values():
            device.close()
        self._objects.clear()
        self._opened.close()


def hold(settings: Settings) -> HeldContainer:
    """Open the container of ``settings``. Raises Unusable, UserMistake for what is no container."""
    target = KernelTarget(settings.container, settings.iommu, settings.group)  # type: ignore[arg-type]
    try:
        opened = target.open_group()
    except OSError as error:
        raise Unusable(
            f"{settings.container} cannot be opened by {settings.group}: {error.strerror}; it must be bound to "
            "vfio-fsl-mc, and nobody else may hold it"
        ) from error
    flags = opened.device.info().flags
    if not (flags & vfio.VFIO_DEVICE_FLAGS_FSL_MC and flags & vfio.VFIO_DEVICE_FLAGS_RESET):
        opened.close()
        raise UserMistake(f"{settings.container} is no container of DPAA2; give a dprc.N whole")
    return HeldContainer(settings.container, opened)
