# SPDX-License-Identifier: GPL-2.0-or-later
"""What ELF files say about themselves: the libraries and the loader they need, and a kernel module's .modinfo.

Little-endian files of 32 and 64 bit (elf(5)).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB = 0, 1, 5


class NotElf(ValueError):
    """The bytes are no ELF file that can be read here."""


@dataclass(frozen=True)
class Needs:
    """``loader`` is the program interpreter's path or None, ``libraries`` the sonames of DT_NEEDED."""

    loader: str | None
    libraries: tuple[str, ...]


def needs(data: bytes) -> Needs:
    """What a program or library needs to run; NotElf for anything else."""
    wide = _wide(data)
    try:
        segments = _segments(data, wide)
        loader = next((_text(data, offset) for kind, offset, _, _ in segments if kind == _PT_INTERP), None)
        dynamic = next(((offset, size) for kind, offset, _, size in segments if kind == _PT_DYNAMIC), None)
        if dynamic is None:
            return Needs(loader, ())
        tags = list(struct.iter_unpack("<qQ" if wide else "<iI", data[dynamic[0] : dynamic[0] + dynamic[1]]))
        if (_DT_NULL, 0) in tags:
            tags = tags[: tags.index((_DT_NULL, 0))]
        strings = next((value for tag, value in tags if tag == _DT_STRTAB), None)
        if strings is None:
            return Needs(loader, ())
        table = _file_offset(segments, strings)
        return Needs(loader, tuple(_text(data, table + value) for tag, value in tags if tag == _DT_NEEDED))
    except (struct.error, IndexError, OverflowError) as error:
        raise NotElf(f"it is a damaged ELF file: {error}") from error


def modinfo(data: bytes) -> dict[str, list[str]]:
    """The ``key=value`` strings of a kernel module's .modinfo section; NotElf for anything else."""
    wide = _wide(data)
    try:
        if wide:
            (table,) = struct.unpack_from("<Q", data, 0x28)
            size, count, names = struct.unpack_from("<3H", data, 0x3A)
        else:
            (table,) = struct.unpack_from("<I", data, 0x20)
            size, count, names = struct.unpack_from("<3H", data, 0x2E)
        sections = [_section(data, table + size * index, wide) for index in range(count)]
        name_table = sections[names][1]
        for name, offset, length in sections:
            if _text(data, name_table + name) == ".modinfo":
                return _pairs(data[offset : offset + length])
    except (struct.error, IndexError, OverflowError) as error:
        raise NotElf(f"it is a damaged ELF file: {error}") from error
    raise NotElf("it has no .modinfo section")


def _wide(data: bytes) -> bool:
    if data[:4] != b"\x7fELF" or len(data) < 52 or data[5] != 1:
        raise NotElf("it is no little-endian ELF file")
    return data[4] == 2


def _segments(data: bytes, wide: bool) -> list[tuple[int, int, int, int]]:
    """Program headers as (type, file offset, address, size in the file)."""
    if wide:
        (table,) = struct.unpack_from("<Q", data, 0x20)
        size, count = struct.unpack_from("<2H", data, 0x36)
    else:
        (table,) = struct.unpack_from("<I", data, 0x1C)
        size, count = struct.unpack_from("<2H", data, 0x2A)
    found = []
    for index in range(count):
        at = table + size * index
        if wide:
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        else:
            kind, offset, address, _, length = struct.unpack_from("<5I", data, at)
        found.append((kind, offset, address, length))
    return found


def _section(data: bytes, at: int, wide: bool) -> tuple[int, int, int]:
    """A section header as (offset of its name, file offset, size)."""
    if wide:
        name, _, _, _, offset, size = struct.unpack_from("<IIQQQQ", data, at)
    else:
        name, _, _, _, offset, size = struct.unpack_from("<6I", data, at)
    return name, offset, size


def _file_offset(segments: list[tuple[int, int, int, int]], address: int) -> int:
    for kind, offset, start, length in segments:
        if kind == _PT_LOAD and start <= address < start + length:
            return offset + address - start
    raise IndexError(f"address {address:#x} is in no segment")


def _text(data: bytes, at: int) -> str:
    end = data.index(b"\0", at) if 0 <= at < len(data) else -1
    if end < 0:
        raise IndexError(f"no string at {at:#x}")
    return data[at:end].decode("latin-1")


def _pairs(section: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for item in section.split(b"\0"):
        key, equals, value = item.decode("utf-8", errors="replace").partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found
