# SPDX-License-Identifier: GPL-2.0-or-later
"""Regions, and what is told about a device."""

from __future__ import annotations

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.hostile.cases.building import U32, U64, Cases, after_version, command, read, write


def regions() -> Cases:
    """REGION_READ, REGION_WRITE and REGION_WRITE_MULTI out of bounds."""
    for region, where in ((scratch.REGISTERS, "registers"), (scratch.MEMORY, "memory"), (8, "absent-region")):
        good = "EINVAL" if region == 8 else "ok"
        yield (
            f"{where}-read-of-0-bytes",
            after_version(
                "at the start, at the end, behind it",
                read(0, region, 0),
                read(0x40, scratch.REGISTERS, 0),
                read(0x41, scratch.REGISTERS, 0),
                expect="ok ok EINVAL",
            ),
        )
        yield f"{where}-write-of-0-bytes", after_version("nothing happens", write(0, region, 0, b""), expect="ok")
        yield (
            f"{where}-read-of-huge-counts",
            after_version(
                "2 GiB, 4 GiB, 1 MiB, 1 MiB and 1",
                *(read(0, region, count) for count in (1 << 31, U32, 1 << 20, (1 << 20) + 1)),
                expect="EINVAL " * 4,
            ),
        )
        yield (
            f"{where}-read-that-wraps",
            after_version(
                "offset and count beyond 64 bits",
                *(read(offset, region, count) for offset, count in ((U64, 1), (U64, U32), (U64 - 3, 4), (1 << 63, 8))),
                expect="EINVAL " * 4,
            ),
        )
        yield (
            f"{where}-write-that-wraps",
            after_version(
                "offset and count beyond 64 bits",
                *(write(offset, region, 4, b"abcd") for offset in (U64, U64 - 3, 1 << 63)),
                expect="EINVAL " * 3,
            ),
        )
        yield (
            f"{where}-write-whose-count-lies",
            after_version(
                "more and less than the data",
                *(write(0, region, count, b"abcd") for count in (0, 3, 5, 1 << 31, U32)),
                expect="EINVAL " * 5,
            ),
        )
        yield f"{where}-sound-access", after_version("to see the difference", read(0, region, 4), expect=good)
    yield (
        "regions-that-are-not-there",
        after_version(
            "9, 255, 2 GiB, 4 GiB", *(read(0, region, 1) for region in (9, 255, 1 << 31, U32)), expect="EINVAL " * 4
        ),
    )
    yield (
        "a-write-of-1-mib",
        after_version("to a region of 64 bytes", write(0, 0, 1 << 20, bytes(1 << 20)), expect="EINVAL"),
    )
    entry = user.WRITE_MULTI_ENTRY.pack(0, 0, 4, b"abcdabcd")
    for name, number, entries in (
        ("0-of-1", 0, entry),
        ("2-of-1", 2, entry),
        ("2-to-the-63", 1 << 63, entry),
        ("as-many-as-wrap-to-0", 1 << 61, b""),
        ("cut-short", 1, entry[:-1]),
    ):
        yield (
            f"many-writes-{name}",
            after_version("the number lies", command(15, user.WRITE_MULTI.pack(number) + entries), expect="EINVAL"),
        )
    yield "many-writes-none", after_version("of no writes", command(15, user.WRITE_MULTI.pack(0)), expect="ok")
    yield (
        "many-writes-43690",
        after_version("as many as fit", command(15, user.WRITE_MULTI.pack(43_690) + entry * 43_690), expect="ok"),
    )
    yield (
        "many-writes-with-a-count-of-9",
        after_version(
            "an entry holds 8 bytes",
            *(
                command(15, user.WRITE_MULTI.pack(1) + user.WRITE_MULTI_ENTRY.pack(0, 0, count, bytes(8)))
                for count in (9, U32)
            ),
            expect="EINVAL EINVAL",
        ),
    )


def infos() -> Cases:
    """GET_INFO and its kin, with sizes and indices that are not sound."""
    for name, number, layout in (
        ("device-info", 4, vfio.DEVICE_INFO),
        ("region-info", 5, vfio.REGION_INFO),
        ("irq-info", 7, vfio.IRQ_INFO),
    ):
        size = layout.size
        yield (
            f"{name}-cut-short",
            after_version(
                "every length", *(command(number, b"\xff" * length) for length in range(size)), expect="EINVAL " * size
            ),
        )
        rest = bytes(size - 4)
        yield (
            f"{name}-argsz",
            after_version(
                "0, one too few, 4 GiB",
                *(command(number, argsz.to_bytes(4, "little") + rest) for argsz in (0, size - 1, U32)),
                expect="EINVAL EINVAL ok",
            ),
        )
        if number != 4:
            bad = [bytes(4) + index.to_bytes(4, "little") for index in (9, 1 << 31, U32)]
            yield (
                f"{name}-index",
                after_version(
                    "not there",
                    *(command(number, (64).to_bytes(4, "little") + part + bytes(size - 12)) for part in bad),
                    expect="EINVAL " * 3,
                ),
            )
    yield (
        "region-io-fds",
        after_version(
            "none, and none where it makes no sense",
            *(
                command(6, user.REGION_IO_FDS.pack(*request))
                for request in ((16, 0, 0, 0), (U32, 0, 0, 0), (16, 0, 0, U32), (16, U32, 0, 0), (16, 0, U32, 0))
            ),
            expect="ok ok EINVAL EINVAL EINVAL",
        ),
    )
    yield (
        "region-descriptors-a-hundred-times",
        after_version(
            "the reply holds one each time",
            *(command(5, vfio.REGION_INFO.pack(U32, 0, scratch.MEMORY, 0, 0, 0)) for _ in range(100)),
            expect="ok " * 100,
        ),
    )
