# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process beside QEMU is given: its description as an argument, sockets, and somebody who waits for it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from passthru.emulation.shared_ram.qtest import connect
from passthru.errors import UserMistake

CONNECT_SECONDS = 60.0


def text_of(argument: str, what: str, usage: str) -> str:
    """``argument`` if it is JSON itself, else the content of the file of that name. Raises UserMistake."""
    if argument.lstrip().startswith("{"):
        return argument
    try:
        return Path(argument).read_text()
    except (OSError, ValueError) as error:
        raise UserMistake(f"{what} {argument} cannot be read: {error}; {usage}") from error


def tell_ready(word: str, descriptor: int | None) -> None:
    """Print ``word`` on a line, and write it to ``descriptor``, if there is one, and close that."""
    with suppress(OSError):  # nobody may be listening to us
        print(word, flush=True)
    if descriptor is not None:
        with suppress(OSError):
            os.write(descriptor, f"{word}\n".encode())
            os.close(descriptor)


def connected(where: str | int) -> socket.socket:
    """A socket by its path, where QEMU may still have to make it, or by the number of an inherited descriptor.

    Raises Unusable, UserMistake.
    """
    if isinstance(where, str):
        return connect(where, CONNECT_SECONDS)
    try:
        connection = socket.socket(fileno=where)
    except OSError as error:
        raise UserMistake(f"descriptor {where} is no socket: {error.strerror}") from error
    connection.set_inheritable(False)
    return connection
