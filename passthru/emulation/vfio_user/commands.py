# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands of a vfio-user client, but for the two that are in a hurry (see `session`).

Each function takes the state of the connection and the message and returns the payload of the reply and the
descriptors that go along; it raises OSError, whose errno becomes the reply.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.emulation.interrupts import IrqSet
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio import user_messages as user
from passthru.vfio.info_capabilities import SparseMmap, pack_capabilities
from passthru.vfio.user_version import MAJOR, MINOR, Capabilities, pack_version, parse_version

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from struct import Struct

    from passthru.emulation.dma import MappedMemory
    from passthru.emulation.model import Model
    from passthru.emulation.vfio_user.stream import Message

OURS = Capabilities(max_msg_fds=8)
Reply = tuple[bytes, "Sequence[int]"]

_MAP_FLAGS = (
    iommu.VFIO_DMA_MAP_FLAG_READ
    | iommu.VFIO_DMA_MAP_FLAG_WRITE
    | user.DMA_MAP_FLAG_MMAP
    | user.DMA_MAP_FLAG_FILE_IO  # how we reach the memory is our choice; the client only permits
)
_SET_IRQS_FLAGS = vfio.VFIO_IRQ_SET_DATA_TYPE_MASK | vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK


class Incompatible(OSError):
    """The client speaks another major version: it is answered, and the connection ends."""


@dataclass
class State:
    """What a connection is about."""

    model: Model
    memory: MappedMemory
    write: Callable[[int, int, bytes], None]  # region, offset, data: checked and carried out
    negotiated: bool = False
    client: Capabilities = field(default_factory=Capabilities)


def fields(message: Message, layout: Struct) -> tuple[int, ...]:
    """The structure that a payload begins with; raises OSError EINVAL where the payload is shorter."""
    if len(message.payload) < layout.size:
        raise OSError(errno.EINVAL, f"a payload of {len(message.payload)} bytes where {layout.size} are needed")
    return layout.unpack_from(message.payload)


def _argsz(given: int, layout: Struct) -> None:
    if given < layout.size:
        raise OSError(errno.EINVAL, f"argsz is {given}, {layout.size} is the least")


def negotiate_version(state: State, message: Message) -> Reply:
    """VERSION, once and first."""
    if state.negotiated:
        raise OSError(errno.EINVAL, "the version was negotiated before")
    major, minor, client = parse_version(message.payload)
    if major != MAJOR:
        raise Incompatible(errno.EINVAL, f"the client speaks major version {major}")
    state.client = client
    state.negotiated = True
    return pack_version(min(minor, MINOR), OURS), ()


def dma_map(state: State, message: Message) -> Reply:
    """DMA_MAP; a descriptor is mapped, without one only messages reach the memory."""
    argsz, flags, offset, iova, size = fields(message, user.DMA_MAP)
    _argsz(argsz, user.DMA_MAP)
    if flags & ~_MAP_FLAGS or len(message.descriptors) > 1:
        raise OSError(errno.EINVAL, f"DMA_MAP with flags {flags:#x} and {len(message.descriptors)} descriptors")
    state.memory.map(iova, size, flags, message.descriptors[0] if message.descriptors else None, offset)
    return b"", ()


def dma_unmap(state: State, message: Message) -> Reply:
    """DMA_UNMAP of one mapping or of all; there are no dirty bitmaps."""
    argsz, flags, iova, size = fields(message, user.DMA_UNMAP)
    _argsz(argsz, user.DMA_UNMAP)
    if flags & iommu.VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP:
        raise OSError(errno.EOPNOTSUPP, "dirty pages are not tracked")
    if flags & ~iommu.VFIO_DMA_UNMAP_FLAG_ALL or (flags and (iova or size)):
        raise OSError(errno.EINVAL, f"DMA_UNMAP of {size:#x} bytes at {iova:#x} with flags {flags:#x}")
    if flags:
        state.memory.clear()
    else:
        state.memory.unmap(iova, size)
    return user.DMA_UNMAP.pack(user.DMA_UNMAP.size, flags, iova, size), ()


def device_get_info(state: State, message: Message) -> Reply:
    """DEVICE_GET_INFO."""
    _argsz(fields(message, vfio.DEVICE_INFO)[0], vfio.DEVICE_INFO)
    model = state.model
    return vfio.DEVICE_INFO.pack(vfio.DEVICE_INFO.size, model.device_flags, len(model.regions), len(model.irqs)), ()


def device_get_region_info(state: State, message: Message) -> Reply:
    """DEVICE_GET_REGION_INFO; where argsz has no room for the capabilities, the reply tells how much they need.

    QEMU asks again with that argsz, and takes the descriptor of the second reply only: the first has none.
    """
    argsz, _, index, _, _, _ = fields(message, vfio.REGION_INFO)
    _argsz(argsz, vfio.REGION_INFO)
    if index >= len(state.model.regions):
        raise OSError(errno.EINVAL, f"there is no region {index}")
    region = state.model.regions[index]
    mappable = region.descriptor is not None
    chain = pack_capabilities((SparseMmap(region.areas),) if mappable and region.areas else ())
    needed = vfio.REGION_INFO.size + len(chain)
    flags = region.flags | (vfio.VFIO_REGION_INFO_FLAG_MMAP if mappable else 0)
    if chain and needed <= argsz:
        flags |= vfio.VFIO_REGION_INFO_FLAG_CAPS
        cap_offset = vfio.REGION_INFO.size
    else:
        cap_offset, fits = 0, not chain
        chain = b""
        mappable = mappable and fits
    info = vfio.REGION_INFO.pack(needed, flags, index, cap_offset, region.size, region.offset)
    descriptors = (region.descriptor,) if mappable and region.descriptor is not None else ()
    return info + chain, descriptors


def device_get_region_io_fds(state: State, message: Message) -> Reply:
    """DEVICE_GET_REGION_IO_FDS: no region has any."""
    argsz, flags, index, count = fields(message, user.REGION_IO_FDS)
    _argsz(argsz, user.REGION_IO_FDS)
    if flags or count or index >= len(state.model.regions):
        raise OSError(errno.EINVAL, f"no io descriptors of region {index} with flags {flags:#x}")
    return user.REGION_IO_FDS.pack(user.REGION_IO_FDS.size, 0, index, 0), ()


def device_get_irq_info(state: State, message: Message) -> Reply:
    """DEVICE_GET_IRQ_INFO."""
    argsz, _, index, _ = fields(message, vfio.IRQ_INFO)
    _argsz(argsz, vfio.IRQ_INFO)
    if index >= len(state.model.irqs):
        raise OSError(errno.EINVAL, f"there is no irq index {index}")
    flags, count = state.model.irqs[index].info()
    return vfio.IRQ_INFO.pack(vfio.IRQ_INFO.size, flags, index, count), ()


def device_set_irqs(state: State, message: Message) -> Reply:
    """DEVICE_SET_IRQS, checked as vfio_set_irqs_validate_and_prepare of the kernel does.

    argsz counts the data by the specification; QEMU sends that of the bare structure, so the payload's length counts.
    """
    argsz, flags, index, start, count = fields(message, vfio.IRQ_SET)
    _argsz(argsz, vfio.IRQ_SET)
    data = flags & vfio.VFIO_IRQ_SET_DATA_TYPE_MASK
    if index >= len(state.model.irqs) or flags & ~_SET_IRQS_FLAGS or data.bit_count() != 1:
        raise OSError(errno.EINVAL, f"irq index {index} with flags {flags:#x}")
    irq = state.model.irqs[index]
    if start >= irq.limit or start + count > irq.limit:
        raise OSError(errno.EINVAL, f"{count} interrupts from {start} on, of {irq.limit}")
    bools: Sequence[bool] = ()
    descriptors: Sequence[int | None] = ()
    if data == vfio.VFIO_IRQ_SET_DATA_BOOL:
        values = message.payload[vfio.IRQ_SET.size :]
        if len(values) < count:
            raise OSError(errno.EINVAL, f"{len(values)} bools for {count} interrupts")
        bools = [value != 0 for value in values[:count]]
    elif data == vfio.VFIO_IRQ_SET_DATA_EVENTFD:
        descriptors = message.descriptors or [None] * count  # none at all means deassign
        if len(descriptors) != count:
            raise OSError(errno.EINVAL, f"{len(descriptors)} eventfds for {count} interrupts")
    irq.set_irqs(IrqSet(flags, start, count, bools, descriptors))
    return b"", ()


def device_reset(state: State, message: Message) -> Reply:
    """DEVICE_RESET."""
    state.model.reset()
    return b"", ()


def region_write_multi(state: State, message: Message) -> Reply:
    """REGION_WRITE_MULTI: in order, up to the first that fails."""
    (number,) = fields(message, user.WRITE_MULTI)
    entries = message.payload[user.WRITE_MULTI.size :]
    if len(entries) != number * user.WRITE_MULTI_ENTRY.size:
        raise OSError(errno.EINVAL, f"{len(entries)} bytes for {number} writes")
    for offset, region, count, data in user.WRITE_MULTI_ENTRY.iter_unpack(entries):
        if count > len(data):
            raise OSError(errno.EINVAL, f"a write of {count} bytes among many")
        state.write(region, offset, data[:count])
    return user.WRITE_MULTI.pack(number), ()


COMMANDS: dict[int, Callable[[State, Message], Reply]] = {
    user.VFIO_USER_VERSION: negotiate_version,
    user.VFIO_USER_DMA_MAP: dma_map,
    user.VFIO_USER_DMA_UNMAP: dma_unmap,
    user.VFIO_USER_DEVICE_GET_INFO: device_get_info,
    user.VFIO_USER_DEVICE_GET_REGION_INFO: device_get_region_info,
    user.VFIO_USER_DEVICE_GET_REGION_IO_FDS: device_get_region_io_fds,
    user.VFIO_USER_DEVICE_GET_IRQ_INFO: device_get_irq_info,
    user.VFIO_USER_DEVICE_SET_IRQS: device_set_irqs,
    user.VFIO_USER_DEVICE_RESET: device_reset,
    user.VFIO_USER_REGION_WRITE_MULTI: region_write_multi,
}


def answer(state: State, message: Message) -> Reply:
    """The reply to a command; raises OSError EINVAL for what is unknown, obsolete or not for a server.

    QEMU takes EINVAL of DEVICE_FEATURE for "no such feature".
    """
    if message.oversized:
        raise OSError(errno.E2BIG, f"a message of {message.size} bytes")
    if message.descriptors_lost:
        raise OSError(errno.EINVAL, "some descriptors did not arrive")
    if not state.negotiated and message.command != user.VFIO_USER_VERSION:
        raise OSError(errno.EINVAL, "the version comes first")
    command = COMMANDS.get(message.command)
    if command is None:
        raise OSError(errno.EINVAL, f"command {message.command} is not served")
    return command(state, message)
