# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's memory: mappings, and DMA by messages."""

from __future__ import annotations

from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.hostile.adversary import KINDS, Send
from tests.unit.emulation.hostile.cases.building import U32, U64, Cases, after_version, command, header, write


def _map(iova: int, size: int, *kinds: str, flags: int = 3, offset: int = 0, argsz: int = 32) -> Send:
    return Send(command(user.VFIO_USER_DMA_MAP, user.DMA_MAP.pack(argsz, flags, offset, iova, size)), kinds)


def _unmap(iova: int, size: int, flags: int = 0) -> bytes:
    return command(user.VFIO_USER_DMA_UNMAP, user.DMA_UNMAP.pack(24, flags, iova, size))


def mappings() -> Cases:
    """DMA_MAP and DMA_UNMAP."""
    for kinds in ((), ("memfd",), ("sealed",)):
        how = kinds[0] if kinds else "no-descriptor"
        yield (
            f"map-{how}-ranges-that-are-none",
            after_version(
                "of 0 bytes, wrapping, all of 64 bits and more",
                _map(0, 0, *kinds),
                _map(U64, 2, *kinds),
                _map(U64, U64, *kinds),
                _map(4096, U64, *kinds),
                expect="EINVAL " * 4,
            ),
        )
        huge = "EINVAL" if kinds else "ok"
        yield (
            f"map-{how}-huge-sizes",
            after_version(
                "2^63, 2^62, 2^47 bytes; a file has one page",
                _map(0, 1 << 63, *kinds),
                _map(1 << 63, 1 << 62, *kinds),
                _map(3 << 62, 1 << 47, *kinds),
                expect=f"{huge} {huge} {huge}",
            ),
        )
        yield (
            f"map-{how}-overlapping",
            after_version(
                "the same, over the start, over the end, inside, around",
                *(
                    _map(iova, size, *kinds)
                    for iova, size in ((8192, 4096), (8192, 4096), (8191, 2), (12287, 2), (8200, 8), (4096, 4096))
                ),
                expect="ok EEXIST EEXIST EEXIST EEXIST ok",
            ),
        )
        yield (
            f"map-{how}-flags",
            after_version(
                "none, unknown ones",
                *(_map(0, 4096, *kinds, flags=flags) for flags in (0, 4, 8, 16, 0x80000003, U32)),
                expect="EINVAL " * 6,
            ),
        )
    yield (
        "map-offsets-that-are-none",
        after_version(
            "behind the end, no page's, 2^63, all ones",
            *(_map(0, 4096, "memfd", offset=offset) for offset in (4096, 1, 1 << 63, U64, U64 - 4095)),
            expect="EINVAL " * 5,
        ),
    )
    yield "map-two-descriptors", after_version("", _map(0, 4096, "memfd", "memfd"), expect="EINVAL")
    for kind in KINDS:
        answer = "ok" if kind in ("memfd", "sealed", "null", "directory") else "EINVAL"
        yield (
            f"map-a-descriptor-of-kind-{kind}",
            after_version("files that are no RAM are not touched", _map(0, 4096, kind), expect=answer),
        )
    yield (
        "map-argsz",
        after_version(
            "0, 31, 4 GiB", *(_map(0, 4096, argsz=argsz) for argsz in (0, 31, U32)), expect="EINVAL EINVAL ok"
        ),
    )
    yield (
        "map-cut-short",
        after_version(
            "every length", *(command(2, b"\x20" + bytes(length)) for length in range(31)), expect="EINVAL " * 31
        ),
    )
    yield (
        "unmap-what-is-not-mapped",
        after_version(
            "nothing, a part, more, twice",
            _unmap(0, 0),
            _map(4096, 8192, "memfd"),
            _map(4096, 4096, "memfd"),
            _unmap(4096, 4095),
            _unmap(0, 16384),
            _unmap(U64, U64),
            _unmap(4096, 4096),
            _unmap(4096, 4096),
            expect="ENOENT EINVAL ok ENOENT ENOENT ENOENT ok ENOENT",
        ),
    )
    yield (
        "unmap-flags",
        after_version(
            "dirty bitmap, all with a range, unknown ones",
            _unmap(0, 0, 1),
            _unmap(0, 4096, 2),
            _unmap(0, 0, 3),
            _unmap(0, 0, U32),
            _unmap(0, 0, 4),
            _unmap(0, 0, 2),
            expect="ENOTSUP EINVAL ENOTSUP ENOTSUP EINVAL ok",
        ),
    )


def _copy(source: int, target: int, size: int, flags: int = 0) -> bytes:
    data = b"".join(value.to_bytes(8, "little") for value in (source, target, size))
    return write(scratch.COPY, scratch.REGISTERS, len(data), data, flags)


def dma_by_messages() -> Cases:
    """A client that answers DMA_READ and DMA_WRITE with nonsense; ids of the server's commands count from 1."""
    asked = "ok ok DMA_WRITE"  # the mapping, the doorbell, the server's first command
    probe = user.reply(1, user.VFIO_USER_DMA_WRITE, user.DMA_ACCESS.pack(0, 0))
    start = (_map(0, 1 << 40), _copy(0, 4096, 64))
    # The answer that nothing ever comes for is at the end: what then comes last is the client's end.
    yield "dma-no-answer", after_version("the client leaves", *start, expect=asked, then="silence")
    yield "dma-half-an-answer", after_version("and leaves", *start, probe[:20], expect=asked, then="silence")
    yield (
        "dma-answers-to-something-else",
        after_version(
            "another id, another command, no reply at all",
            *start,
            user.reply(2, user.VFIO_USER_DMA_WRITE, bytes(16)),
            user.reply(1, user.VFIO_USER_DMA_READ, bytes(16)),
            command(user.VFIO_USER_DMA_WRITE, bytes(16)),
            expect=f"{asked} EINVAL",
            then="silence",
        ),
    )
    for name, reply in (
        ("of-no-bytes", user.reply(2, user.VFIO_USER_DMA_READ)),
        ("cut-short", user.reply(2, user.VFIO_USER_DMA_READ, bytes(79))),
        ("error-0", user.error_reply(2, user.VFIO_USER_DMA_READ, 0)),
        ("error-all-ones", user.error_reply(2, user.VFIO_USER_DMA_READ, U32)),
        ("error-econnreset", user.error_reply(2, user.VFIO_USER_DMA_READ, 104)),
        ("error-eagain", user.error_reply(2, user.VFIO_USER_DMA_READ, 11)),
        ("error-etimedout", user.error_reply(2, user.VFIO_USER_DMA_READ, 110)),
        ("of-2-mib", header(11, 2 << 20, user.TYPE_REPLY).replace(b"\1", b"\2", 1) + bytes((2 << 20) - 16)),
    ):
        yield (
            f"dma-read-answer-{name}",
            after_version("an error of the transfer", *start, probe, reply, expect=f"{asked} DMA_READ"),
        )
    yield (
        "dma-answer-with-descriptors",
        after_version(
            "they are closed",
            *start,
            Send(probe, ("memfd", "eventfd")),
            Send(user.error_reply(2, user.VFIO_USER_DMA_READ, 19), ("memfd",) * 16),
            expect=f"{asked} DMA_READ",
        ),
    )
    yield (
        "dma-malformed-answer",
        after_version(
            "the end of the connection",
            *start,
            header(12, 7, user.TYPE_REPLY) + bytes(16),
            expect=asked,
            then="disconnected",
        ),
    )
    yield (
        "dma-unmapped-while-it-waits",
        after_version(
            "what comes next is not mapped any more",
            _map(0, 4096),
            _map(4096, 4096, "memfd"),
            _map(8192, 4096, "memfd"),
            _copy(4096, 4094, 4),
            _unmap(4096, 4096),
            probe,
            user.reply(2, user.VFIO_USER_DMA_WRITE, user.DMA_ACCESS.pack(4094, 2)),
            expect="ok ok ok ok DMA_WRITE ok DMA_WRITE",
        ),
    )
    yield (
        "dma-of-huge-sizes",
        after_version(
            "more than a transfer may have",
            _map(0, 1 << 63),
            *(_copy(0, 0, size) for size in ((16 << 20) + 1, 1 << 40, 1 << 62, U64)),
            expect="ok " * 5,
        ),
    )
    yield (
        "dma-doorbells-without-end",
        after_version(
            "2000 while the first is not answered; work does not pile up",
            _map(0, 4096),
            _copy(0, 0, 1),
            _copy(0, 0, 1) * 2000,
            expect="ok ok DMA_WRITE " + "ok " * 256 + "EBUSY " * 1744,
            then="silence",
        ),
    )
    yield (
        "dma-posted-doorbells-without-end",
        after_version(
            "2000 without a reply",
            _map(0, 4096),
            _copy(0, 0, 1, user.NO_REPLY) * 2000,
            expect="ok DMA_WRITE",
            then="silence",
        ),
    )
