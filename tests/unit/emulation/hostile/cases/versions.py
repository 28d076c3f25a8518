# SPDX-License-Identifier: GPL-2.0-or-later
"""VERSION."""

from __future__ import annotations

import json

from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import VERSION, Send
from tests.unit.emulation.hostile.cases.building import Cases, after_version, command
from tests.unit.emulation.hostile.corpus_files import Case


def versions() -> Cases:
    """VERSION with text that is no JSON, or not what it should be."""
    texts: dict[str, tuple[bytes, str]] = {
        "without-a-nul": (b"{}", "EINVAL"),
        "only-a-nul": (b"\0", "ok"),
        "with-text-behind-the-nul": (b'{}\0{"capabilities":3}\0', "ok"),
        "of-no-json": (b"{\0", "EINVAL"),
        "of-no-utf-8": (b'{"\xff\xfe":1}\0', "EINVAL"),
        "of-utf-16": ("{}".encode("utf-16") + b"\0", "EINVAL"),
        "nested-4000-deep": (b"[" * 4000 + b"]" * 4000 + b"\0", "EINVAL"),
        "nested-900-deep-as-a-number": (
            b'{"capabilities":{"max_msg_fds":' + b"[" * 900 + b"]" * 900 + b"}}\0",
            "EINVAL",
        ),
        "nested-100000-deep": (b'{"a":' * 100_000 + b"\0", "EINVAL"),
        "of-1-mib-of-lists": (b"[" + b"[]," * 349_000 + b"[]]\0", "EINVAL"),
        "of-8-kib-and-1": (b"{" + b" " * 8190 + b"}\0", "EINVAL"),
        "with-a-number-of-4000-digits": (b'{"capabilities":{"max_msg_fds":' + b"9" * 4000 + b"}}\0", "ok"),
        "with-a-number-of-7000-digits": (b'{"capabilities":{"max_msg_fds":' + b"9" * 7000 + b"}}\0", "EINVAL"),
        "of-null": (b"null\0", "EINVAL"),
        "of-a-list": (b'["capabilities"]\0', "EINVAL"),
        "of-a-string": (b'"capabilities"\0', "EINVAL"),
        "with-capabilities-of-null": (b'{"capabilities":null}\0', "EINVAL"),
        "with-capabilities-of-a-list": (b'{"capabilities":[]}\0', "EINVAL"),
        "with-a-key-twice": (b'{"capabilities":3,"capabilities":{}}\0', "ok"),
    }
    for value in ("-1", "1e400", "1.0", "NaN", '"8"', "null", "true", "{}", "[8]"):
        name = value.strip('"{}[]').replace("-", "minus-").replace(".", "-").lower()
        kind = {'"': "string-", "[": "list-", "{": "object-"}.get(value[0], "")
        texts[f"with-max-msg-fds-{kind}{name}".rstrip("-")] = (
            b'{"capabilities":{"max_msg_fds":' + value.encode() + b"}}\0",
            "EINVAL",
        )
    for value in ("0", "-9223372036854775809"):
        texts[f"with-max-data-xfer-size-{value}"] = (
            b'{"capabilities":{"max_data_xfer_size":' + value.encode() + b"}}\0",
            "EINVAL",
        )
    for name, (data, answer) in texts.items():
        send = Send(command(user.VFIO_USER_VERSION, user.VERSION.pack(0, 0) + data))
        yield f"version-{name}", Case(f"{len(data)} bytes of version data", (send,), (answer,))
    yield (
        "version-of-another-major",
        Case("answered, then the end", (Send(command(1, user.VERSION.pack(7, 0))),), ("EINVAL",), "disconnected"),
    )
    yield "version-of-minor-65535", Case("ours is less", (Send(command(1, user.VERSION.pack(0, 65535))),), ("ok",))
    yield "version-of-3-bytes", Case("a half version", (Send(command(1, bytes(3))),), ("EINVAL",))
    yield "version-twice", after_version("", VERSION, expect="EINVAL")
    yield (
        "version-with-descriptors",
        Case("nobody wants them", (Send(VERSION.data, ("eventfd", "memfd", "null")),), ("ok",)),
    )
    yield (
        "version-of-many-unknown-capabilities",
        Case(
            "ignored",
            (
                Send(
                    command(
                        1,
                        user.VERSION.pack(0, 0)
                        + json.dumps({"capabilities": {f"unknown{number}": number for number in range(200)}}).encode()
                        + b"\0",
                    )
                ),
            ),
            ("ok",),
        ),
    )
