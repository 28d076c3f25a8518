# SPDX-License-Identifier: GPL-2.0-or-later
"""VERSION: what this client says of itself, and what the server answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.vfio import user_messages as user
from passthru.vfio.user import incoming, served
from passthru.vfio.user.errors import ProtocolError
from passthru.vfio.user_version import MAJOR, MINOR, Capabilities, pack_version, parse_version

if TYPE_CHECKING:
    from passthru.vfio.user.connection import Connection

OURS = Capabilities(max_msg_fds=incoming.MOST_DESCRIPTORS, max_data_xfer_size=served.LONGEST)
DEFAULT_MAX_DMA_MAPS = 65535
DEFAULT_PAGE_SIZES = 0x1000


@dataclass(frozen=True)
class Server:
    """What the server said of itself, or what the specification says where it said nothing."""

    minor: int
    max_msg_fds: int
    max_data_xfer_size: int
    max_dma_maps: int = DEFAULT_MAX_DMA_MAPS
    page_sizes: int = DEFAULT_PAGE_SIZES
    write_multiple: bool = False


def negotiate(connection: Connection) -> Server:
    """Agree upon a version. Raises OSError as `Connection.ask`, ProtocolError for an answer that cannot be."""
    answer = connection.ask(user.VFIO_USER_VERSION, pack_version(MINOR, OURS))
    incoming.close_all(answer.descriptors)
    try:
        major, minor, capabilities = parse_version(answer.payload)
    except OSError as error:
        raise ProtocolError(f"VERSION was answered with what is no version: {error.strerror}") from error
    if major != MAJOR or minor > MINOR:
        raise ProtocolError(f"VERSION {MAJOR}.{MINOR} was answered with {major}.{minor}")
    offered = _offered(answer.payload)
    return Server(
        minor,
        capabilities.max_msg_fds,
        capabilities.max_data_xfer_size,
        _number(offered, "max_dma_maps", DEFAULT_MAX_DMA_MAPS),
        _number(offered, "pgsizes", DEFAULT_PAGE_SIZES),
        offered.get("write_multiple") is True,
    )


def _offered(payload: bytes) -> dict[str, object]:
    text = payload[user.VERSION.size :].split(b"\0", 1)[0]
    data = json.loads(text or b"{}")
    offered: dict[str, object] = data.get("capabilities", {})
    return offered


def _number(offered: dict[str, object], name: str, default: int) -> int:
    value = offered.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ProtocolError(f"VERSION was answered with {name} {value!r}, which is no number from 1 on")
    return value
