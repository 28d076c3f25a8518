# SPDX-License-Identifier: GPL-2.0-or-later
"""What hypothesis makes hostile conversations of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.hostile.adversary import KINDS, PAGE, VERSION, Send
from tests.unit.emulation.hostile.corpus_files import CORPUS, load

if TYPE_CHECKING:
    from struct import Struct

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
_EDGES = (0, 1, 2, 3, 4, 8, 15, 16, 17, 20, 24, 31, 32, 33, 63, 64, 65, 255, 256, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE)
_LARGE = (0xFFFF, 1 << 16, 1 << 20, (1 << 20) + 1, (1 << 31) - 1, 1 << 31, U32 - PAGE + 1, U32 - 1, U32)
_HUGE = (1 << 32, 1 << 40, 1 << 47, 1 << 62, (1 << 63) - 1, 1 << 63, U64 - PAGE, U64 - PAGE + 1, U64 - 1, U64)

small = st.integers(0, 9)
u16 = st.one_of(small, st.integers(0, 0xFFFF))
u32 = st.one_of(small, st.sampled_from(_EDGES), st.sampled_from(_EDGES + _LARGE), st.integers(0, U32))
u64 = st.one_of(small, st.sampled_from(_EDGES), st.sampled_from(_EDGES + _LARGE + _HUGE), st.integers(0, U64))
pages = st.sampled_from([0, PAGE, 2 * PAGE, 3 * PAGE, 1 << 20, U64 - PAGE + 1])
descriptors = st.one_of(st.just(()), st.just(()), st.lists(st.sampled_from(KINDS), max_size=5).map(tuple))


def _packed(layout: Struct, *fields: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.tuples(*fields).map(lambda values: layout.pack(*values))


def _with_tail(head: st.SearchStrategy[bytes], longest: int = 40) -> st.SearchStrategy[bytes]:
    return st.one_of(head, st.tuples(head, st.binary(max_size=longest)).map(b"".join))


def _write(region: int, offset: int, data: bytes) -> bytes:
    return user.REGION_ACCESS.pack(offset, region, len(data)) + data


# Registers that do something: those of the test's own model, of mtty and of the DMA engine.
_doors = st.one_of(
    st.builds(
        lambda source, target, size: _write(
            0, scratch.COPY, b"".join(value.to_bytes(8, "little") for value in (source, target, size))
        ),
        st.one_of(pages, pages, u64),
        st.one_of(pages, pages, u64),
        st.one_of(st.integers(1, 3 * PAGE), st.integers(1, 3 * PAGE), u64),
    ),
    st.builds(
        lambda offset, data: _write(0, offset, data),
        st.sampled_from([scratch.IMPATIENT, scratch.TRIGGER, scratch.INTX, *range(9)]),
        st.binary(min_size=1, max_size=8),
    ),
    st.builds(
        lambda offset, value: _write(0, offset, value.to_bytes(8, "little")),
        st.sampled_from([0x80, 0x88, 0x90, 0x98]),
        st.one_of(st.sampled_from([1, 3, 5, 7, 0x10000, 0x20000]), u64),
    ),
    st.builds(
        lambda offset, value: _write(0, offset, value.to_bytes(4, "little")),
        st.sampled_from([0x04, 0x08, 0x20, 0x60, 0x64, 0x68]),
        u32,
    ),
    st.just(_write(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 4, b"\6\0")),
    st.builds(lambda at, data: _write(7, at, data), st.integers(0, 0x100), st.binary(max_size=8)),
)

_payloads: dict[int, st.SearchStrategy[bytes]] = {
    user.VFIO_USER_VERSION: _with_tail(st.builds(user.VERSION.pack, st.just(0), u16)),
    user.VFIO_USER_DMA_MAP: _packed(user.DMA_MAP, st.just(32), st.integers(0, 4), pages, pages, pages)
    | _packed(user.DMA_MAP, u32, u32, u64, u64, u64),
    user.VFIO_USER_DMA_UNMAP: _packed(user.DMA_UNMAP, st.just(24), st.integers(0, 3), pages, pages)
    | _packed(user.DMA_UNMAP, u32, u32, u64, u64),
    user.VFIO_USER_DEVICE_GET_INFO: _packed(vfio.DEVICE_INFO, u32, u32, u32, u32),
    user.VFIO_USER_DEVICE_GET_REGION_INFO: _packed(vfio.REGION_INFO, u32, u32, small, u32, u64, u64),
    user.VFIO_USER_DEVICE_GET_REGION_IO_FDS: _packed(user.REGION_IO_FDS, u32, small, small, small),
    user.VFIO_USER_DEVICE_GET_IRQ_INFO: _packed(vfio.IRQ_INFO, u32, u32, small, u32),
    user.VFIO_USER_DEVICE_SET_IRQS: _with_tail(
        _packed(vfio.IRQ_SET, st.just(20), st.integers(0, 0x3F), small, small, small)
        | _packed(vfio.IRQ_SET, u32, u32, u32, u32, u32)
    ),
    user.VFIO_USER_REGION_READ: _packed(user.REGION_ACCESS, u64, small, u32),
    user.VFIO_USER_REGION_WRITE: _doors | _with_tail(_packed(user.REGION_ACCESS, u64, small, u32)),
    user.VFIO_USER_DMA_READ: _with_tail(_packed(user.DMA_ACCESS, u64, u64)),
    user.VFIO_USER_DMA_WRITE: _with_tail(_packed(user.DMA_ACCESS, u64, u64)),
    user.VFIO_USER_REGION_WRITE_MULTI: st.builds(
        lambda number, entries: user.WRITE_MULTI.pack(len(entries) if number is None else number) + b"".join(entries),
        st.none() | u64,
        st.lists(st.builds(user.WRITE_MULTI_ENTRY.pack, u64, small, small, st.binary(max_size=8))),
    ),
}
_commands = st.sampled_from(sorted(_payloads)).flatmap(lambda number: st.tuples(st.just(number), _payloads[number]))
_anything = st.tuples(st.one_of(st.integers(0, 20), u16), st.binary(max_size=64))
_rings = st.tuples(st.just(user.VFIO_USER_REGION_WRITE), _doors)
commands = st.one_of(_commands, _commands, _rings, _rings, _anything)
"""Number and payload of one command."""

replies = st.builds(
    lambda message_id, number, error, payload: (
        user.error_reply(message_id, number, error) if error else user.reply(message_id, number, payload)
    ),
    st.integers(1, 6),
    st.sampled_from([user.VFIO_USER_DMA_READ, user.VFIO_USER_DMA_WRITE]),
    st.one_of(st.just(0), u32),
    st.builds(lambda head, data: head + data, _packed(user.DMA_ACCESS, u64, u64), st.binary(max_size=64)),
)
"""What the server may take for the answer to a command of its own."""

_headers = st.builds(user.HEADER.pack, u16, st.one_of(st.integers(0, 20), u16), u32, st.one_of(small, u32), u32)
garbage = st.one_of(
    _headers,
    st.binary(min_size=1, max_size=80),
    st.tuples(_headers, st.binary(max_size=80)).map(b"".join),
)
"""What is hardly a message."""


def _map(iova: int, size: int, *kinds: str) -> Send:
    return Send(user.command(0x3FE, user.VFIO_USER_DMA_MAP, user.DMA_MAP.pack(32, 3, 0, iova, size)), kinds)


_TRIGGER = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
_UNMASK = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_UNMASK


def _enable(flags: int, index: int, count: int) -> Send:
    payload = vfio.IRQ_SET.pack(20, flags, index, 0, count)
    return Send(user.command(0x3FF, user.VFIO_USER_DEVICE_SET_IRQS, payload), ("eventfd",) * count)


_BUS_MASTER = Send(user.command(0x3FD, user.VFIO_USER_REGION_WRITE, _write(7, 4, b"\6\0")))
_NO_RAM, _RAM, _SEALED = _map(0, 1 << 32), _map(0, PAGE, "memfd"), _map(PAGE, PAGE, "sealed")
_INTX, _MSIX = _enable(_TRIGGER, vfio.VFIO_PCI_INTX_IRQ_INDEX, 1), _enable(_TRIGGER, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 4)
preparations = st.sampled_from(
    [
        [VERSION],
        [VERSION, _NO_RAM, _BUS_MASTER],
        [VERSION, _NO_RAM, _BUS_MASTER, _INTX, _enable(_UNMASK, vfio.VFIO_PCI_INTX_IRQ_INDEX, 1)],
        [VERSION, _RAM, _SEALED, _BUS_MASTER, _MSIX],
        [VERSION, _RAM, _map(PAGE, 1 << 32), _BUS_MASTER, _MSIX],
    ]
)
"""What makes a device ready for more."""


@st.composite
def conversations(draw: st.DrawFn) -> list[Send]:
    """Commands, answers and garbage, cut and joined anywhere, with any descriptors."""
    parts = draw(
        st.lists(
            st.one_of(
                st.builds(
                    lambda number, flags: user.command(number[0] & 0xFF, number[0], number[1], flags),
                    commands,
                    st.sampled_from([0, 0, 0, user.NO_REPLY, user.ERROR, 2]),
                ),
                replies,
                garbage,
            ),
            max_size=10,
        )
    )
    return _cut(draw, [Send(part, draw(descriptors)) for part in parts])


_CORPUS = [load(path) for path in sorted(CORPUS.iterdir()) if path.stat().st_size < 4096]


@st.composite
def mutations(draw: st.DrawFn) -> list[Send]:
    """Conversations of the corpus, shuffled and damaged."""
    sends = [send for case in draw(st.lists(st.sampled_from(_CORPUS), min_size=1, max_size=3)) for send in case.sends]
    sends = [send for send in sends if len(send.data) < 1 << 17]
    if draw(st.booleans()):
        sends = draw(st.permutations(sends))
    damaged = []
    for send in sends[: draw(st.integers(1, 40))]:
        data = send.data
        if data and len(data) < 4096 and draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(data) - 1))
            match draw(st.sampled_from(["flip", "number", "cut", "repeat", "insert"])):
                case "flip":
                    data = data[:at] + bytes((data[at] ^ 1 << draw(st.integers(0, 7)),)) + data[at + 1 :]
                case "number":
                    data = data[:at] + draw(u32).to_bytes(4, "little") + data[at + 4 :]
                case "cut":
                    data = data[:at] + data[at + draw(st.integers(1, 32)) :]
                case "repeat":
                    data = data + data[at:]
                case "insert":
                    data = data[:at] + draw(st.binary(min_size=1, max_size=16)) + data[at:]
        kinds = send.descriptors if draw(st.integers(0, 7)) else draw(descriptors)
        damaged.append(Send(data, kinds[:20]))
    return _cut(draw, damaged)


def _cut(draw: st.DrawFn, sends: list[Send]) -> list[Send]:
    """Cut some of the sends in two, and join some with the next; descriptors stay with the first byte."""
    made: list[Send] = []
    for send in sends:
        what = draw(st.integers(0, 5))
        if what == 0 and len(send.data) > 1:
            at = draw(st.integers(1, len(send.data) - 1))
            made += [Send(send.data[:at], send.descriptors), Send(send.data[at:])]
        elif what == 1 and made and not send.descriptors:
            made[-1] = Send(made[-1].data + send.data, made[-1].descriptors)
        else:
            made.append(send)
    return [send for send in made if send.data]
