# SPDX-License-Identifier: GPL-2.0-or-later
"""The VERSION message of vfio-user: two numbers and capabilities in JSON."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass

from passthru.vfio.user_messages import HEADER, MAX_MESSAGE_SIZE, VERSION

MAJOR = 0
MINOR = 1  # the newest that libvfio-user speaks; QEMU 10.1 to 11.1 proposes 0

DEFAULT_MAX_DATA_XFER_SIZE = 1 << 20

# QEMU 10.1 to 11.1 reads the reply into the buffer of its own request: a larger one ends its start-up
QEMU_LONGEST_REPLY = 214

# QEMU sends 194 bytes of JSON; what a text of some length becomes in memory is many times as long
LONGEST_TEXT = 8192


@dataclass(frozen=True)
class Capabilities:
    """What one side can take: descriptors in a message, bytes of data in a message."""

    max_msg_fds: int = 1
    max_data_xfer_size: int = DEFAULT_MAX_DATA_XFER_SIZE


def pack_version(minor: int, capabilities: Capabilities) -> bytes:
    """The payload of a VERSION message, NUL-terminated as QEMU demands."""
    text = json.dumps({"capabilities": vars(capabilities)}, separators=(",", ":"))
    payload = VERSION.pack(MAJOR, minor) + text.encode() + b"\0"
    if HEADER.size + len(payload) > QEMU_LONGEST_REPLY:
        raise ValueError(f"a VERSION message of {HEADER.size + len(payload)} bytes is more than QEMU reads")
    return payload


def parse_version(payload: bytes) -> tuple[int, int, Capabilities]:
    """Major, minor and capabilities of a VERSION payload; raises OSError EINVAL where it is malformed.

    Unknown capabilities are ignored, absent ones have the specification's defaults.
    """
    if len(payload) < VERSION.size:
        raise OSError(errno.EINVAL, "a VERSION message without a version")
    major, minor = VERSION.unpack_from(payload)
    text = payload[VERSION.size :]
    if not text:
        return major, minor, Capabilities()
    if text[-1] or len(text) > LONGEST_TEXT:
        raise OSError(errno.EINVAL, f"version data of {len(text)} bytes that do not end in NUL or are too long")
    try:
        data = json.loads(text.split(b"\0", 1)[0] or b"{}")
    except (ValueError, RecursionError) as error:
        raise OSError(errno.EINVAL, "the version data are no JSON") from error
    offered = data.get("capabilities", {}) if isinstance(data, dict) else None
    if not isinstance(offered, dict):
        raise OSError(errno.EINVAL, "the version data are no object with capabilities")
    return (
        major,
        minor,
        Capabilities(
            max_msg_fds=_number(offered, "max_msg_fds", 1, 0, 1 << 16),
            max_data_xfer_size=_number(offered, "max_data_xfer_size", DEFAULT_MAX_DATA_XFER_SIZE, 1, MAX_MESSAGE_SIZE),
        ),
    )


def _number(offered: dict[str, object], name: str, default: int, least: int, most: int) -> int:
    value = offered.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise OSError(errno.EINVAL, f"capability {name} is no number from {least} on")
    return min(value, most)
