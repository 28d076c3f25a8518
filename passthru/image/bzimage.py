# SPDX-License-Identifier: GPL-2.0-or-later
"""What is in a bzImage: a packed ELF kernel behind a small program that unpacks and moves it."""

from __future__ import annotations

import struct

from passthru.errors import Unusable
from passthru.image.unpacking import decompress

_GZIP = b"\x1f\x8b"


def unpacked(data: bytes) -> bytes | None:
    """The ELF kernel in a bzImage; None if it is none, or is packed in a way that cannot be read here.

    Source: Documentation/arch/x86/boot.rst (payload_offset); scripts/Makefile.lib (the unpacked size that is appended).
    """
    if data[0x202:0x206] != b"HdrS" or len(data) < 0x250:
        return None
    sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = data[start : start + length]
    if not payload.startswith(_GZIP):
        payload = payload[:-4]  # the unpacked size, appended: lz4 takes it for a block, zstd for a mistake
    try:
        return decompress(payload, "the kernel's payload")
    except Unusable:
        return None
