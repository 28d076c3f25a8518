# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors where they do not belong."""

from __future__ import annotations

from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import Send
from tests.unit.emulation.hostile.cases.building import Cases, after_version, command, header, read


def descriptors() -> Cases:
    """Descriptors that nobody asked for."""
    yield (
        "descriptors-with-every-command",
        after_version(
            "they are closed",
            *(Send(command(number, bytes(40)), ("eventfd", "memfd", "pipe")) for number in range(20)),
            expect=" ".join(
                "ok" if number in (user.VFIO_USER_REGION_READ, user.VFIO_USER_DEVICE_RESET) else "EINVAL"
                for number in range(20)
            ),
        ),
    )
    yield "17-descriptors", after_version("one more than fits", Send(read(0, 0, 1), ("null",) * 17), expect="EINVAL")
    yield "253-descriptors", after_version("the kernel's most", Send(read(0, 0, 1), ("null",) * 253), expect="EINVAL")
    yield (
        "a-message-that-collects-descriptors",
        after_version(
            "16 with its first byte, 16 with the next",
            Send(read(0, 0, 1)[:1], ("null",) * 16),
            Send(read(0, 0, 1)[1:2], ("null",) * 16),
            then="disconnected",
        ),
    )
    yield (
        "a-descriptor-with-every-byte",
        after_version(
            "16 bytes, each with one",
            *(Send(bytes((byte,)), ("null",)) for byte in read(0, 0, 1)[:16]),
            read(0, 0, 1)[16:],
            expect="ok",
        ),
    )
    yield (
        "descriptors-with-a-malformed-header",
        after_version(
            "they go with the connection", Send(header(9, 3) + bytes(64), ("null",) * 8), then="disconnected"
        ),
    )
    yield (
        "descriptors-within-what-is-thrown-away",
        after_version(
            "each part of the payload brings 16",
            header(10, 2 << 20),
            *(Send(bytes(1 << 16), ("null",) * 16) for _ in range(31)),
            bytes((1 << 16) - 16),
            expect="E2BIG",
        ),
    )
    yield (
        "descriptors-with-a-message-that-never-ends",
        after_version("and a client that leaves", Send(header(9, 32), ("eventfd", "memfd")), then="silence"),
    )
    yield (
        "the-clients-own-end-with-half-a-message",
        after_version(
            "the server must not keep alive what it waits for", Send(header(9, 32), ("own",)), then="silence"
        ),
    )
    yield (
        "sockets-with-every-command",
        after_version(
            "no message has any",
            *(Send(command(number, bytes(40)), ("socket", "own")) for number in range(20)),
            expect="EINVAL " * 20,
        ),
    )
