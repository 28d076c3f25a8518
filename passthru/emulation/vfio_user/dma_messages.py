# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA by DMA_READ and DMA_WRITE, for the memory that a client does not share."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class DmaMessages:
    """``exchange`` sends a command and returns the payload of its reply; it raises OSError as `dma.Messages` does.

    QEMU before 11.1 has the data 4 bytes before their place, in both directions, and answers DMA_WRITE with a bare
    header. A DMA_WRITE of no bytes, which changes nothing, therefore tells at first use which one it is.
    """

    def __init__(self, exchange: Callable[[int, bytes], bytes], longest: Callable[[], int]) -> None:
        self._exchange = exchange
        self._longest = longest
        self._shifted: bool | None = None

    def dma_read(self, address: int, count: int) -> bytes:
        """See `dma.Messages`."""
        data = bytearray()  # the client chooses how small the parts are
        layout = self._layout(address)
        for at, size in self._parts(address, count):
            payload = self._exchange(user.VFIO_USER_DMA_READ, user.DMA_ACCESS.pack(at, size))
            part = payload[layout : layout + size]
            if len(part) != size:
                raise OSError(errno.EIO, f"the client answered DMA_READ of {size} bytes with {len(part)}")
            data += part
        return bytes(data)

    def dma_write(self, address: int, data: bytes) -> None:
        """See `dma.Messages`."""
        shifted = self._layout(address) != user.DMA_ACCESS.size
        for at, size in self._parts(address, len(data)):
            part = data[at - address : at - address + size]
            if shifted:  # 4 bytes behind the data, for QEMU counts them by its own structure
                payload = user.DMA_ACCESS_SHIFTED.pack(at, size) + part + bytes(4)
            else:
                payload = user.DMA_ACCESS.pack(at, size) + part
            self._exchange(user.VFIO_USER_DMA_WRITE, payload)

    def _parts(self, address: int, count: int) -> Iterator[tuple[int, int]]:
        longest = self._longest()
        for at in range(address, address + count, longest):
            yield at, min(longest, address + count - at)

    def _layout(self, address: int) -> int:
        """Where the data begin in a payload."""
        if self._shifted is None:
            try:
                self._shifted = not self._exchange(user.VFIO_USER_DMA_WRITE, user.DMA_ACCESS.pack(address, 0))
            except OSError as error:
                if error.errno in (errno.EDEADLK, errno.ETIMEDOUT) or isinstance(error, ConnectionError):
                    raise
                self._shifted = False  # a client that minds empty writes is not that QEMU
        return user.DMA_ACCESS_SHIFTED.size if self._shifted else user.DMA_ACCESS.size
