# SPDX-License-Identifier: GPL-2.0-or-later
"""Made kernels, modules and trees: small, and as the real ones where it matters."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from passthru.image.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RELEASE = "6.9.0-made"


def module(name: str, **info: str | list[str]) -> bytes:
    """A relocatable 64-bit ELF file that has nothing but .modinfo."""
    pairs = [
        ("name", name),
        *((key, value) for key, many in info.items() for value in ([many] if isinstance(many, str) else many)),
    ]
    modinfo = b"".join(f"{key}={value}".encode() + b"\0" for key, value in pairs)
    names = b"\0.modinfo\0.shstrtab\0"
    at = 64
    table = at + len(modinfo) + len(names)
    header = (
        b"\x7fELF"
        + bytes([2, 1, 1])
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    )
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 2, 0, at, len(modinfo), 0, 0, 1, 0)
    sections += struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, at + len(modinfo), len(names), 0, 0, 1, 0)
    return header + modinfo + names + sections


def kernel_with(modules: Path | None, *, config: Mapping[str, str] | None = None, pin: object = None) -> Kernel:
    """A kernel whose modules are in a made directory."""
    from pathlib import Path

    return Kernel(
        image=Path("/nowhere/vmlinuz"),
        release=RELEASE,
        config=config,
        modules=modules,
        arch="amd64",
        source="made",
        identity="0" * 64,
        pin={} if pin else None,
    )


def bzimage(release: str = RELEASE, payload: bytes = b"") -> bytes:
    """The header of a bzImage (Documentation/arch/x86/boot.rst) before ``payload``, which is its compressed kernel."""
    sectors = 4
    image = bytearray((sectors + 1) * 512)
    image[0x1F1] = sectors
    image[0x1FE:0x206] = b"\x55\xaa\xeb\x66HdrS"
    struct.pack_into("<H", image, 0x20E, 0x300)
    text = f"{release} (somebody@somewhere) #1 SMP\0".encode()
    image[0x500 : 0x500 + len(text)] = text
    struct.pack_into("<II", image, 0x248, 0, len(payload))
    return bytes(image) + payload
