# SPDX-License-Identifier: GPL-2.0-or-later
"""What conversations are made of."""

from __future__ import annotations

from collections.abc import Iterator

from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import VERSION, Send
from tests.unit.emulation.hostile.corpus_files import Case

U32, U64 = (1 << 32) - 1, (1 << 64) - 1
Cases = Iterator[tuple[str, Case]]


def command(number: int, payload: bytes = b"", flags: int = 0, message_id: int = 1) -> bytes:
    """A sound message around a payload that need not be."""
    return user.command(message_id, number, payload, flags)


def header(number: int, size: int, flags: int = 0) -> bytes:
    """A header alone, whatever it promises."""
    return user.HEADER.pack(1, number, size, flags, 0)


def after_version(title: str, *sends: bytes | Send, expect: str = "", then: str = "alive") -> Case:
    """A conversation after the version was agreed upon; ``expect`` are the answers after that."""
    made = tuple(send if isinstance(send, Send) else Send(send) for send in sends)
    return Case(title, (VERSION, *made), ("ok", *expect.split()), then)


def read(offset: int, region: int, count: int) -> bytes:
    return command(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(offset, region, count))


def write(offset: int, region: int, count: int, data: bytes, flags: int = 0) -> bytes:
    return command(user.VFIO_USER_REGION_WRITE, user.REGION_ACCESS.pack(offset, region, count) + data, flags)
