# SPDX-License-Identifier: GPL-2.0-or-later
"""Hardware of a rig that is not on PCI: devices of its board itself, and models in its shared RAM.

Each is a node of the device tree, by a fragment of images/trees, and a device of the AMBA or platform bus by a name
that its address gives it. On which of the two a device of the board is depends on what its node says it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.qemu import shared_ram
from passthru.qemu.boards import BOARDS, NONE, RAM_SMMUV2
from passthru.qemu.fragments import Fragment
from passthru.qemu.hardware import Misplaced, stream_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from passthru.qemu.shared_ram import Seat

AMBA, PLATFORM, FSL_MC = "amba", "platform", "fsl-mc"

RTC, UART = "pl031", "pl011"
COPY_ENGINE, MANAGEMENT_COMPLEX = "copy-engine", "management-complex"


@dataclass(frozen=True)
class OnBoard:
    """One piece: ``what`` is a device of the board's or a model in shared RAM."""

    name: str
    what: str
    place: str = ""
    """``amba`` or ``platform``, for a device of the board's; by default ``amba``."""
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """The model's own options."""

    @property
    def stream(self) -> str:
        """The name of the stream that its serial line is; empty where it has none."""
        return stream_of(self.name) if self.what == UART else ""


@dataclass(frozen=True)
class _Device:
    """A device of the board: its fragment, where Linux finds it."""

    fragment: str
    address: str


DEVICES = {RTC: _Device("rtc", "9010000.pl031"), UART: _Device("uart", "9040000.pl011")}
"""What QEMU's virt has anyway: a clock, and from QEMU 10.0 on a second serial port."""

_SEATS: Mapping[str, tuple[int, Callable[[int], Seat]]] = {
    COPY_ENGINE: (shared_ram.MOST, shared_ram.page_seat),
    MANAGEMENT_COMPLEX: (1, lambda _: shared_ram.complex_seat()),
}
MODELS = tuple(_SEATS)
"""Models that have a place in shared RAM: how many there can be, and where each is."""


def placed(pieces: Iterable[OnBoard], arch: str, iommu: str, memory_mib: int) -> dict[str, Seat]:
    """The seats of those pieces that are models, by their names.

    Raises Misplaced where a piece cannot be in a rig of this architecture (Debian's word) with this IOMMU and RAM.
    """
    seats: dict[str, Seat] = {}
    counts: dict[str, int] = {}
    for piece in pieces:
        key = "model" if piece.what in _SEATS else "device"
        if not BOARDS[arch].has_tree:
            raise Misplaced(piece.name, key, f'is "{piece.what}", which only a rig has whose host.arch is "arm64"')
        number = counts[piece.what] = counts.get(piece.what, 0) + 1
        most, seat_of = _SEATS.get(piece.what, (1, None))
        if number > most:
            raise Misplaced(piece.name, key, f'is "{piece.what}", of which a rig has at most {most}')
        if seat_of is None:
            if iommu == NONE:
                raise Misplaced(piece.name, key, f'is "{piece.what}", which needs an IOMMU; host.iommu is "{NONE}"')
            continue
        if iommu != RAM_SMMUV2:
            raise Misplaced(piece.name, key, f'is "{piece.what}", which needs host.iommu = "{RAM_SMMUV2}"')
        seats[piece.name] = seat_of(number - 1)
    if iommu == RAM_SMMUV2 and memory_mib < shared_ram.LEAST_MIB:
        raise Misplaced("", "memory", f'is too little for "{RAM_SMMUV2}"; give it "{shared_ram.LEAST_MIB}M" at least')
    return seats


def fragments(
    pieces: Iterable[OnBoard], seats: Mapping[str, Seat], iommu: str, arch: str, named: Iterable[str] = ()
) -> Iterator[Fragment]:
    """All of the rig's fragments: its IOMMU's, its pieces', and those that the user names."""
    if own := BOARDS[arch].iommus[iommu].fragment:
        yield Fragment(own, shared_ram.smmu_values() if iommu == RAM_SMMUV2 else {})
    for piece in pieces:
        if piece.name in seats:
            yield Fragment(piece.what, seats[piece.name].values)
        else:
            ending = f"-{PLATFORM}" if piece.place == PLATFORM else ""
            yield Fragment(f"{DEVICES[piece.what].fragment}{ending}")
    yield from map(Fragment, named)


def addresses(pieces: Iterable[OnBoard], seats: Mapping[str, Seat]) -> dict[str, str]:
    """Name -> the name that the rig's kernel has for the piece on its bus; none for a complex, which has objects."""
    found = {}
    for piece in pieces:
        if piece.what in DEVICES:
            found[piece.name] = DEVICES[piece.what].address
        elif piece.what != MANAGEMENT_COMPLEX:
            found[piece.name] = f"{seats[piece.name].regions[0]:x}.{piece.what}"
    return found
