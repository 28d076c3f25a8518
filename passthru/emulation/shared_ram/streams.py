# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device reaches by DMA: RAM through the SMMU, and the ITS, where its messages signalled as interrupts go."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.emulation.dma import check_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.emulation.shared_ram.ram import GuestRam
    from passthru.emulation.shared_ram.smmu import Smmu

_WORD = 4


@dataclass(frozen=True)
class Messages:
    """The word at the physical address ``doorbell`` (GITS_TRANSLATER) that takes interrupts' event ids.

    ``send`` writes one there. It can only do so as DeviceID 0, so that ``streams`` are those that the device tree maps
    to it (``msi-map``); what others write there would be somebody else's interrupt, and is lost.
    """

    doorbell: int
    streams: frozenset[int]
    send: Callable[[int], None]


class StreamMemory:
    """The `AddressSpace` of one stream; without an SMMU addresses are physical ones."""

    def __init__(self, ram: GuestRam, smmu: Smmu | None, messages: Messages | None, stream: int) -> None:
        self._ram = ram
        self._smmu = smmu
        self._messages = messages
        self._stream = stream

    def read(self, iova: int, size: int) -> bytes:
        """See `model.AddressSpace.read`."""
        check_length(size)
        return b"".join(self._ram.read(place, count) for place, _, count in self._pieces(iova, size, write=False))

    def write(self, iova: int, data: bytes) -> None:
        """See `model.AddressSpace.write`. Where a later part is not mapped, nothing is written."""
        check_length(len(data))
        for place, at, count in list(self._pieces(iova, len(data), write=True)):
            if self._messages is not None and place == self._messages.doorbell and count == _WORD:
                if self._stream in self._messages.streams:
                    self._messages.send(int.from_bytes(data[at : at + count], "little"))
            else:
                self._ram.write(place, data[at : at + count])

    def _pieces(self, iova: int, size: int, *, write: bool) -> Iterator[tuple[int, int, int]]:
        """Physical address, offset in the transfer, and size of each piece."""
        done = 0
        while done < size:
            place, length = self._translate((iova + done) & (1 << 64) - 1, write=write)
            count = min(size - done, length)
            yield place, done, count
            done += count

    def _translate(self, address: int, *, write: bool) -> tuple[int, int]:
        if self._smmu is None:
            place, length = address, 1 << 64
        else:
            place, length = self._smmu.translate(self._stream, address, write=write)
        if self._ram.has(place):
            return place, min(length, self._ram.end - place)
        if not self._is_doorbell(place):
            raise OSError(errno.EFAULT, f"there is nothing at the physical address {place:#x}")
        return place, _WORD

    def _is_doorbell(self, place: int) -> bool:
        return self._messages is not None and place == self._messages.doorbell
