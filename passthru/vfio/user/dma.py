# SPDX-License-Identifier: GPL-2.0-or-later
"""`DmaSpace` over vfio-user: DMA_MAP, with the memory's descriptor or without, and DMA_UNMAP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from passthru.vfio.answers import fields
from passthru.vfio.device import READ_WRITE, DmaInfo
from passthru.vfio.linux_vfio_iommu import VFIO_DMA_UNMAP_FLAG_ALL
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from passthru.vfio.user.connection import Connection
    from passthru.vfio.user.negotiation import Server


class UserDmaSpace:
    """The memory that the device behind a connection sees. See `DmaSpace`.

    Without ``descriptors`` the server is given none and asks for each byte by DMA_READ and DMA_WRITE.
    """

    def __init__(self, connection: Connection, server: Server, *, descriptors: bool = True) -> None:
        self.descriptors = descriptors
        self._connection = connection
        self._server = server

    def info(self) -> DmaInfo:
        available = self._server.max_dma_maps - len(self._connection.memory)
        return DmaInfo(page_sizes=self._server.page_sizes, available=max(0, available))

    def map(self, iova: int, size: int, memory: int, offset: int = 0, flags: int = READ_WRITE) -> None:
        """See `DmaSpace`. Refused as the server refuses: EINVAL, EEXIST, ENOSPC."""
        shared = (memory,) if self.descriptors else ()
        payload = user.DMA_MAP.pack(user.DMA_MAP.size, flags, offset if shared else 0, iova, size)
        answer = self._connection.ask(user.VFIO_USER_DMA_MAP, payload, shared)
        if answer.payload:
            raise Malformed(f"DMA_MAP was answered with {len(answer.payload)} bytes after the header")
        self._connection.memory.add(iova, size, memory, offset, flags)

    def unmap(self, iova: int, size: int, flags: int = 0) -> int:
        payload = user.DMA_UNMAP.pack(user.DMA_UNMAP.size, flags, iova, size)
        answer = self._connection.ask(user.VFIO_USER_DMA_UNMAP, payload)
        argsz, answered, address, unmapped = fields("DMA_UNMAP", user.DMA_UNMAP, answer.payload)
        everything = flags & VFIO_DMA_UNMAP_FLAG_ALL
        if (argsz, answered, address) != (user.DMA_UNMAP.size, flags, iova) or not (unmapped == size or everything):
            raise Malformed(
                f"DMA_UNMAP of {size:#x} bytes at {iova:#x}, flags {flags:#x}, was answered for {unmapped:#x} bytes"
                f" at {address:#x}, flags {answered:#x}, argsz {argsz}"
            )
        memory = self._connection.memory
        if everything:
            unmapped = unmapped or memory.mapped  # the answer may be the request's echo
            memory.clear()
        else:
            memory.remove(iova, size)
        return unmapped
