# SPDX-License-Identifier: GPL-2.0-or-later
"""``{stream:NAME}``, ``{said:NAME}``, ``{told:NAME}``, ``{listen:NAME}`` and ``{socket:NAME}`` in arguments."""

from __future__ import annotations

import re

from passthru.worker.protocol import REQUEST, RequestError
from passthru.worker.scratch import LONGEST_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# A name becomes a file name; ".lock" and "." cannot be one.
NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LONGEST_NAME - 1}}}")
_PLACEHOLDER = re.compile(r"\{(stream|said|told|listen|socket):([^{}]*)\}")


def checked_name(name: str) -> str:
    """``name`` when it can name a stream or a socket. Raises RequestError when it cannot."""
    if not NAME.fullmatch(name):
        raise RequestError(
            REQUEST,
            f"{name!r} cannot name a stream or socket: use 1 to {LONGEST_NAME} letters, digits, '-', '_' and '.',"
            " the first of them a letter or digit",
        )
    return name


def replaced(text: str, numbers: Mapping[tuple[str, str], int], socket_path: Callable[[str], str]) -> str:
    """``text`` with its placeholders replaced by descriptor numbers, by kind and name, and paths.

    Braces that are no placeholder stay as they are: JSON is common among QEMU's arguments. Raises RequestError for a
    stream or listening socket that the child does not have.
    """

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        checked_name(name)
        if kind == "socket":
            return socket_path(name)
        if (kind, name) not in numbers:
            raise RequestError(
                REQUEST, f"the argument {text!r} speaks of {match.group()}, but the child has no {kind} {name!r}"
            )
        return str(numbers[kind, name])

    return _PLACEHOLDER.sub(value, text)
