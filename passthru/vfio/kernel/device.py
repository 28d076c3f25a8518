# SPDX-License-Identifier: GPL-2.0-or-later
"""A device as the kernel shows it: the ioctls, reads, writes and mappings of its descriptor, however it was come by."""

from __future__ import annotations

import errno
import mmap
import os
import select
from typing import TYPE_CHECKING, Literal

from passthru.vfio import answers
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import Call
from passthru.vfio.linux_vfio_features import DEVICE_FEATURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.vfio.device import DeviceInfo, IrqInfo, RegionInfo
    from passthru.vfio.kernel.descriptor import Descriptor
    from passthru.vfio.transcript import Transcript

_NUMBERS = {
    Call.GET_INFO: vfio.VFIO_DEVICE_GET_INFO,
    Call.GET_REGION_INFO: vfio.VFIO_DEVICE_GET_REGION_INFO,
    Call.GET_IRQ_INFO: vfio.VFIO_DEVICE_GET_IRQ_INFO,
    Call.SET_IRQS: vfio.VFIO_DEVICE_SET_IRQS,
    Call.RESET: vfio.VFIO_DEVICE_RESET,
    Call.FEATURE: vfio.VFIO_DEVICE_FEATURE,
    Call.GET_PCI_HOT_RESET_INFO: vfio.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
}


class KernelDevice:
    """`VfioDevice` by a device's descriptor, which is the device's from now on."""

    transport: Literal["kernel"] = "kernel"

    def __init__(self, descriptor: Descriptor) -> None:
        self.descriptor = descriptor
        self._note = descriptor.transcript.note
        self._regions: dict[int, RegionInfo] = {}

    @property
    def transcript(self) -> Transcript:
        """The last calls."""
        return self.descriptor.transcript

    def fileno(self) -> int:
        """Its descriptor; -1 once it is closed."""
        return self.descriptor.fileno()

    def info(self) -> DeviceInfo:
        """VFIO_DEVICE_GET_INFO."""
        return answers.device_info(lambda asked: self.call(Call.GET_INFO, asked))

    def region_info(self, index: int) -> RegionInfo:
        """VFIO_DEVICE_GET_REGION_INFO."""
        found = answers.region_info(lambda asked: self.call(Call.GET_REGION_INFO, asked), index)
        self._regions[index] = found
        return found

    def irq_info(self, index: int) -> IrqInfo:
        """VFIO_DEVICE_GET_IRQ_INFO."""
        return answers.irq_info(lambda asked: self.call(Call.GET_IRQ_INFO, asked), index)

    def set_irqs(
        self,
        flags: int,
        index: int,
        start: int = 0,
        count: int = 1,
        *,
        bools: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> None:
        """VFIO_DEVICE_SET_IRQS; without descriptors, DATA_EVENTFD takes the eventfds of all ``count`` away."""
        if flags & vfio.VFIO_IRQ_SET_DATA_EVENTFD and not descriptors:
            descriptors = (-1,) * count
        argsz = vfio.IRQ_SET.size + len(bools) + len(descriptors) * vfio.DESCRIPTOR.size
        self.call(Call.SET_IRQS, vfio.IRQ_SET.pack(argsz, flags, index, start, count) + bools, descriptors)

    def read(self, region: int, offset: int, size: int) -> bytes:
        """pread(2) of a region."""
        position = self._position(region, offset)
        try:
            data = os.pread(self.descriptor.fileno(), size, position)
        except OSError as error:
            self._note(("read", "region", region, "offset", offset, "size", size, error))
            raise
        self._note(("read", "region", region, "offset", offset, "size", size, "->", data))
        return data

    def write(self, region: int, offset: int, data: bytes) -> int:
        """pwrite(2) of a region."""
        position = self._position(region, offset)
        try:
            taken = os.pwrite(self.descriptor.fileno(), data, position)
        except OSError as error:
            self._note(("write", "region", region, "offset", offset, data, error))
            raise
        self._note(("write", "region", region, "offset", offset, data, "->", taken))
        return taken

    def map(self, region: int, offset: int, size: int) -> mmap.mmap:
        """mmap(2) of a region, for what its flags say of reading and writing.

        What it returns holds the device open until it is closed.
        """
        flags = self._region(region).flags
        descriptor = self.descriptor.fileno()
        if descriptor < 0 or size <= 0:  # which Python would take for memory of its own, and for the whole of a file
            number = errno.EBADF if descriptor < 0 else errno.EINVAL
            raise OSError(number, os.strerror(number))
        protection = mmap.PROT_READ if flags & vfio.VFIO_REGION_INFO_FLAG_READ else 0
        protection |= mmap.PROT_WRITE if flags & vfio.VFIO_REGION_INFO_FLAG_WRITE else 0
        try:
            mapped = mmap.mmap(descriptor, size, mmap.MAP_SHARED, protection, offset=self._position(region, offset))
        except OSError as error:
            self._note(("mmap", "region", region, "offset", offset, "size", size, error))
            raise
        self._note(("mmap", "region", region, "offset", offset, "size", size))
        return mapped

    def reset(self) -> None:
        """VFIO_DEVICE_RESET."""
        self.call(Call.RESET, b"")

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        """VFIO_DEVICE_FEATURE."""
        asked = DEVICE_FEATURE.pack(DEVICE_FEATURE.size + len(data), flags) + data
        return self.call(Call.FEATURE, asked)[DEVICE_FEATURE.size :]

    def call(self, call: Call, structure: bytes, descriptors: Sequence[int] = ()) -> bytes:
        """An ioctl with a structure as it stands; descriptors follow it."""
        if call is Call.RESET and not structure:
            self.descriptor.plain(call.value, _NUMBERS[call])
            return b""
        structure += b"".join(vfio.DESCRIPTOR.pack(each) for each in descriptors)
        return self.descriptor.structure(call.value, _NUMBERS[call], structure)

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        """poll(2); the kernel needs nobody's help meanwhile."""
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        return bool(waiting.poll(max(0.0, seconds) * 1000))

    def close(self) -> None:
        """Close the descriptor."""
        self.descriptor.close()

    def _region(self, index: int) -> RegionInfo:
        return self._regions.get(index) or self.region_info(index)

    def _position(self, region: int, offset: int) -> int:
        """Where a byte of a region is in the descriptor; the kernel's positions are signed."""
        position = self._region(region).offset + offset
        if not 0 <= position < 1 << 63:
            raise OSError(errno.EINVAL, f"region {region} has no offset {offset:#x} that a position can tell")
        return position
