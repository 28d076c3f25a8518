# SPDX-License-Identifier: GPL-2.0-or-later
"""What is no message, or only part of one."""

from __future__ import annotations

from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import Send
from tests.unit.emulation.hostile.cases.building import U32, Cases, after_version, command, header, read, write
from tests.unit.emulation.hostile.corpus_files import Case


def framing() -> Cases:
    """What is no message, or only part of one."""
    yield "nothing-at-all", Case("a client that says nothing", (), (), "silence")
    yield "half-a-header", after_version("8 of 16 bytes", header(9, 32)[:8], then="silence")
    yield "half-a-header-first", Case("8 of 16 bytes, before any version", (Send(header(1, 32)[:8]),), (), "silence")
    yield "a-header-and-no-payload", after_version("it promises 16 bytes", header(9, 32), then="silence")
    yield "a-payload-cut-short", after_version("15 of 16 bytes", read(0, 0, 1)[:-1], then="silence")
    yield (
        "the-largest-payload-cut-short",
        after_version(
            "1 MiB and 4 KiB promised, 64 KiB sent", header(10, (1 << 20) + 4096) + bytes(1 << 16), then="silence"
        ),
    )
    for size in (0, 1, 15):
        yield f"size-{size}", after_version("less than the header", header(9, size) + bytes(64), then="disconnected")
    for size, name in ((64 << 20) + 1, "64-mib-and-1"), (1 << 31, "2-gib"), (U32, "4-gib-less-1"):
        yield f"size-{name}", after_version("more than any message", header(10, size) + bytes(64), then="disconnected")
    yield (
        "size-of-64-mib-cut-short",
        after_version(
            "answered at once; the rest would be thrown away", header(10, 64 << 20), expect="E2BIG", then="silence"
        ),
    )
    yield (
        "a-message-of-2-mib",
        after_version(
            "too large: answered and thrown away", header(10, 2 << 20) + bytes((2 << 20) - 16), expect="E2BIG"
        ),
    )
    yield (
        "a-reply-of-2-mib",
        after_version("that nobody awaits", header(11, 2 << 20, user.TYPE_REPLY) + bytes((2 << 20) - 16)),
    )
    yield "large-unknown-command", after_version("99", header(99, 2 << 20) + bytes(64), then="disconnected")
    yield "http", Case("GET / HTTP/1.1", (Send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),), (), "disconnected")
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(64)
    yield "tls", Case("a ClientHello, which promises 456 bytes", (Send(hello),), (), "silence")
    yield "json", Case("QMP on the wrong socket", (Send(b'{"execute": "qmp_capabilities"}\r\n'),), (), "disconnected")
    yield (
        "bare-headers-of-all-commands",
        after_version(
            "only DEVICE_RESET has no payload",
            *(command(number) for number in range(20)),
            expect=" ".join("ok" if number == user.VFIO_USER_DEVICE_RESET else "EINVAL" for number in range(20)),
        ),
    )
    yield (
        "all-commands-before-the-version",
        Case(
            "each is refused",
            tuple(Send(command(number, bytes(64))) for number in range(2, 20)),
            ("EINVAL",) * 18,
        ),
    )
    yield (
        "unknown-types",
        after_version(
            "neither command nor reply", *(command(13, b"", kind) for kind in range(2, 16)), expect="EINVAL " * 14
        ),
    )
    yield "unknown-flags", after_version("all of the upper ones", command(13, b"", 0xFFFFFFC0), expect="ok")
    yield "a-command-with-an-error", after_version("it is looked past", command(13, b"", user.ERROR), expect="ok")
    yield (
        "replies-that-nobody-awaits",
        after_version(
            "of every command",
            *(user.reply(1, number, bytes(48)) for number in range(20)),
            user.error_reply(1, 11, U32),
            Send(user.reply(1, 12, bytes(16)), ("eventfd", "memfd")),
        ),
    )
    yield (
        "posted-nonsense",
        after_version(
            "whatever needs no reply has none", *(command(number, bytes(8), user.NO_REPLY) for number in range(20))
        ),
    )
    yield "the-same-id-ten-times", after_version("", *(read(0, 0, 1) for _ in range(10)), expect="ok " * 10)
    yield (
        "a-message-within-a-message",
        after_version("is the outer one's payload", write(0, 0, 32, read(0, 0, 1)), expect="ok"),
    )
    yield (
        "two-messages-interleaved",
        after_version(
            "the second header is the first one's payload",
            read(0, 0, 4)[:20] + write(0, 0, 4, b"abcd")[:20] + read(0, 0, 4)[20:],
            expect="EINVAL",
            then="disconnected",
        ),
    )
    yield "byte-by-byte", after_version("one REGION_READ", *(bytes((byte,)) for byte in read(0, 0, 4)), expect="ok")
    heap = read(0, 0, 4) * 8
    yield (
        "a-heap-cut-in-odd-places",
        after_version(
            "8 messages in pieces of 13 bytes",
            *(heap[at : at + 13] for at in range(0, len(heap), 13)),
            expect="ok " * 8,
        ),
    )
