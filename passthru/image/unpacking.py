# SPDX-License-Identifier: GPL-2.0-or-later
"""Decompresses what kernels and their modules come in."""

from __future__ import annotations

import bz2
import lzma
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.image.command import CommandFailed, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class _Reader(Protocol):
        """One of the standard library's decompressors."""

        @property
        def eof(self) -> bool: ...
        def decompress(self, data: bytes, /) -> bytes: ...


_SECONDS = 60.0
_TOOLS = {"zstd": (b"\x28\xb5\x2f\xfd", ["zstd", "-dcqf"]), "lz4": (b"\x02\x21\x4c\x18", ["lz4", "-dcqf"])}


def decompress(data: bytes, what: str) -> bytes:
    """The content of a compressed file, told by its first bytes; as it is if it is not compressed.

    gzip, xz, lzma and bzip2 are read here; zstd and lz4 need the tool of that name on this machine. ``what`` names it
    in the sentence of Unusable.
    """
    own: dict[bytes, Callable[[bytes], bytes]] = {
        b"\x1f\x8b": _gunzip,
        b"\xfd7zXZ\x00": _unxz,
        b"\x5d\x00\x00": _unxz,
        b"BZh": lambda packed: _whole(bz2.BZ2Decompressor(), packed),
    }
    try:
        for magic, reader in own.items():
            if data.startswith(magic):
                return reader(data)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise Unusable(f"{what} is damaged: it cannot be decompressed ({error})") from error
    for tool, (magic, argv) in _TOOLS.items():
        if data.startswith(magic):
            return _by_tool(tool, argv, data, what)
    return data


def _gunzip(data: bytes) -> bytes:
    return _whole(zlib.decompressobj(wbits=31), data)


def _unxz(data: bytes) -> bytes:
    return _whole(lzma.LZMADecompressor(), data)


def _whole(reader: _Reader, data: bytes) -> bytes:
    """What ``reader`` makes of ``data``, whatever follows it there. Raises EOFError where it is cut short."""
    plain = reader.decompress(data)
    if not reader.eof:
        raise EOFError("it ends too early")
    return plain


def _by_tool(tool: str, argv: list[str], data: bytes, what: str) -> bytes:
    if shutil.which(tool) is None:
        raise Unusable(f"{what} is compressed with {tool}, which this machine lacks; install the package {tool}")
    with tempfile.NamedTemporaryFile(prefix="passthru-") as packed:
        packed.write(data)
        packed.flush()
        try:
            return run([*argv, Path(packed.name)], seconds=_SECONDS).stdout
        except CommandFailed as failed:
            raise Unusable(f"{what} is damaged: {tool} cannot decompress it ({failed.last_words})") from failed
