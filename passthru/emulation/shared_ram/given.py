# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process beside QEMU is given: its description as an argument, sockets, and somebody who waits for it."""

from __future__ import annotations

import faulthandler
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.emulation.shared_ram.qtest import connect
from passthru.errors import PassthruError, UserMistake

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONNECT_SECONDS = 60.0


def run_given(arguments: Sequence[str], what: str, usage: str, serve: Callable[[str], None]) -> int:
    """A command whose one argument describes ``what`` it is to serve; returns its exit code.

    ``serve`` is given the description's text. Errors are one sentence on stderr.
    """
    with suppress(OSError, RuntimeError, ValueError):  # without a stderr there is nobody to tell
        faulthandler.enable(all_threads=False)
    try:
        if len(arguments) != 1:
            raise UserMistake(f"one argument is needed, {what}; {usage}")
        if arguments[0] in ("-h", "--help"):
            print(usage)
            return 0
        serve(text_of(arguments[0], what, usage))
    except PassthruError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


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
