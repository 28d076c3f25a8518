# SPDX-License-Identifier: GPL-2.0-or-later
"""A device server by hand or by a worker: `serve`, and the command line around it.

Errors are one sentence on stderr: exit 2 for what the caller wrote wrong, 125 for what the machine does not allow.
SIGTERM, SIGINT and SIGHUP end it with 0, and the socket it made is removed.
"""

from __future__ import annotations

import errno
import faulthandler
import json
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.emulation.ending import ended_by_signals
from passthru.emulation.making import make_device
from passthru.emulation.models import catalogue
from passthru.emulation.vfio_user.listener import serve_clients
from passthru.errors import PassthruError, Unusable, UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from passthru.vfio.trace import TraceWriter

USAGE = "usage: python -m passthru.emulation MODEL [--options JSON] (--listen-fd N | --socket PATH) [--trace FILE]"
_MODEL = "MODEL: a model's name, FILE.py:CLASS, or package.module:CLASS with --package-root DIR"


LONGEST_SOCKET_PATH = 107  # bytes: sun_path without its NUL


def main(arguments: Sequence[str]) -> int:
    """The command; returns its exit code."""
    with suppress(OSError, RuntimeError, ValueError):  # without a stderr there is nobody to tell
        faulthandler.enable(all_threads=False)  # a death by SIGBUS or SIGSEGV says where it was
    try:
        if arguments and arguments[0] in ("-h", "--help"):
            print(f"{USAGE}\n{_MODEL}\nmodels: {', '.join(catalogue())}")
            return 0
        model, given = _parse(arguments)
        serve(
            model,
            _parse_options(given.get("--options", "{}")),
            listen_fd=_parse_number(given["--listen-fd"]) if "--listen-fd" in given else None,
            path=given.get("--socket"),
            trace=given.get("--trace"),
            package_root=given.get("--package-root"),
        )
    except PassthruError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def serve(
    model: str,
    options: Mapping[str, object],
    *,
    listen_fd: int | None = None,
    path: str | None = None,
    trace: str | None = None,
    package_root: str | None = None,
) -> None:
    """Be the device ``model`` until SIGTERM, SIGINT or SIGHUP, at an inherited listening socket or at a new ``path``.

    ``trace`` names the file for the conversations. For the main thread of a process that does nothing else, as it
    takes the signals. Raises UserMistake (also where a model of the user's own breaks) and Unusable.
    """
    if (listen_fd is None) == (path is None):
        raise UserMistake("a device server needs either a socket path or the number of a listening socket")
    device, own = make_device(model, options, catalogue(), package_root)
    with ExitStack() as stack, ended_by_signals():
        if own:
            stack.enter_context(own.breaking())
        stack.callback(device.close)
        writer = stack.enter_context(_open_trace(trace)) if trace else None
        listener = stack.enter_context(_inherited(listen_fd) if path is None else _bound(path, stack))
        _allow_many_descriptors()
        if path is not None:
            with suppress(OSError):  # nobody may be listening to us
                print(f"{model} listens on {path}", flush=True)
        serve_clients(listener, device, writer)


@contextmanager
def _open_trace(path: str) -> Iterator[TraceWriter]:
    from passthru.vfio.trace import TraceWriter

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Unusable(f"the trace {path} cannot be written: {error.strerror}; name another file") from error
    writer = TraceWriter(descriptor, arm=lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds))
    signal.signal(signal.SIGALRM, lambda number, frame: writer.flush())
    try:
        yield writer
    finally:
        writer.close()


def _bound(path: str, stack: ExitStack) -> socket.socket:
    """A socket that listens at ``path``; the stack removes the path."""
    if not path:  # the kernel would choose a name of its own
        raise UserMistake("the socket path is empty")
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise UserMistake(f"the socket path {path} is longer than {LONGEST_SOCKET_PATH} bytes; choose a shorter one")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UserMistake(
                f"the socket path {path} is in use or left over; choose another one, or remove it"
            ) from error
        raise Unusable(
            f"no socket can be made at {path}: {error.strerror}; choose a path in a directory that you can write"
        ) from error
    made = Path(path).stat()
    stack.callback(_remove, Path(path), (made.st_dev, made.st_ino))
    listener.listen()
    return listener


def _remove(path: Path, identity: tuple[int, int]) -> None:
    """Remove the socket, unless something else is in its place by now."""
    with suppress(FileNotFoundError):
        found = path.stat()
        if (found.st_dev, found.st_ino) == identity:
            path.unlink()


def _inherited(descriptor: int | None) -> socket.socket:
    try:
        listener = socket.socket(fileno=descriptor)
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.detach()
            raise UserMistake(f"descriptor {descriptor} is no listening socket")
    except OSError as error:
        raise UserMistake(f"descriptor {descriptor} is no listening socket: {error.strerror}") from error
    listener.set_inheritable(False)
    return listener


def _allow_many_descriptors() -> None:
    """Each DMA mapping holds a descriptor, and a guest has hundreds of them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parse(arguments: Sequence[str]) -> tuple[str, dict[str, str]]:
    model, given = None, {}
    words = iter(arguments)
    for word in words:
        name, separator, value = word.partition("=")
        if name in ("--options", "--listen-fd", "--socket", "--trace", "--package-root"):
            if not separator and (following := next(words, None)) is None:
                raise UserMistake(f"{name} needs a value; {USAGE}")
            given[name] = value if separator else str(following)
        elif word.startswith("-") or model is not None:
            raise UserMistake(f"{word!r} is not understood; {USAGE}")
        else:
            model = word
    if model is None:
        raise UserMistake(f"which model? {USAGE}")
    return model, given


def _parse_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise UserMistake(f"--listen-fd {text!r} is no number of a descriptor")
    return int(text)


def _parse_options(text: str) -> Mapping[str, object]:
    try:
        options = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserMistake(f"--options {text!r} is no JSON: {error}") from error
    if not isinstance(options, dict):
        raise UserMistake(f"--options {text!r} is no JSON object")
    return options
