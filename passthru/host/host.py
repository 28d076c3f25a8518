# SPDX-License-Identifier: GPL-2.0-or-later
"""What a host offers to those who run things on it, wherever it is."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from passthru.deadline import Deadline

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class ChildSpec:
    """A program to start on the host.

    ``argv`` and only it may hold placeholders, which the worker replaces: ``{stream:NAME}`` by the descriptor number
    of the child's end of that stream, ``{said:NAME}`` and ``{told:NAME}`` by those of the pipes that it writes and
    reads, ``{listen:NAME}`` by that of the listening socket, ``{socket:NAME}`` by the path (under 108 bytes) of the
    UNIX socket NAME in the worker's scratch directory, whoever listens there.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Added to the worker's own environment."""
    streams: tuple[str, ...] = ()
    """Connected socket pairs: the child has one end, ``Child.streams`` the other."""
    pipes: tuple[str, ...] = ()
    """Pairs of pipes, for what is written byte by byte: a pipe joins small writes where a socket keeps each; the other
    ends are in ``Child.pipes``."""
    listens: tuple[str, ...] = ()
    """UNIX sockets that accept connections before the child is started: nobody waits for its readiness."""
    directory: Path | None = None
    """Where it runs; None: where the worker does."""
    makes: tuple[Path, ...] = ()
    """Sockets that it makes by itself outside of the scratch directory; those that it leaves behind are removed."""
    output: Path | None = None
    """A file that standard output and error are appended to; None discards them. Standard input is empty."""


@dataclass(frozen=True)
class Exit:
    """How a child ended: by itself with ``code``, or killed by ``signal``; the other one is None."""

    code: int | None = None
    signal: int | None = None
    cpu: float = 0.0
    """Seconds of user and system time, its own and of the children that it waited for."""

    def __str__(self) -> str:
        if self.signal is None:
            return f"exited with status {self.code}"
        try:
            return f"was killed by {signal.Signals(self.signal).name}"
        except ValueError:
            return f"was killed by signal {self.signal}"


class Child(Protocol):
    """A started program."""

    @property
    def name(self) -> str:
        """The name of its ChildSpec."""

    @property
    def pid(self) -> int:
        """Its process id on the host, which is its process group's and session's too."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Its arguments with the placeholders replaced."""

    @property
    def streams(self) -> Mapping[str, socket.socket]:
        """Non-blocking, connected sockets, which the caller closes; leaving the host closes those left open."""

    @property
    def pipes(self) -> Mapping[str, tuple[BinaryIO, BinaryIO]]:
        """Unbuffered: what the child says, what it is told; the caller closes them, as the streams."""

    @property
    def exited(self) -> asyncio.Future[Exit]:
        """Done when the child has exited; its exception is WorkerLost when the worker has gone.

        For asyncio.wait and callbacks. Await ``wait()`` instead of it: a cancelled ``await exited`` cancels it for all.
        """

    async def wait(self, deadline: Deadline = Deadline()) -> Exit:  # noqa: B008 (frozen)
        """How it exited. Raises DeadlineExceeded, WorkerLost."""

    async def signal(self, signum: int) -> None:
        """Send a signal to its whole process group; a child that has exited is left alone."""

    async def kill(self) -> Exit:
        """SIGKILL the child and everything that came of it, wherever it went; returns how the child exited.

        Once it has exited, this still kills what it left behind.
        """

    async def stop(self, seconds: float = 2.0) -> Exit:
        """SIGTERM to the group, and ``kill`` after ``seconds``."""


class Host(Protocol):
    """A Linux, local or emulated, with a worker on it."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Never has a result; its exception is set, to WorkerLost, as soon as the worker has gone unasked."""

    async def start(self, spec: ChildSpec) -> Child:
        """Start a program. Raises Unusable, in one sentence, when it cannot be; then nothing of it is left."""

    async def is_listening(self, socket: str) -> bool:
        """Whether somebody listens at a UNIX socket, given as its absolute path or as ``{socket:NAME}``."""

    async def listening(self, socket: str, who: str, deadline: Deadline) -> None:
        """Wait until ``who`` listens at a socket. Raises DeadlineExceeded, and Unusable where nobody ever can."""

    async def watch_listener(self, socket: str) -> asyncio.Future[None] | None:
        """Done when whoever listens at ``socket``, an absolute path, has ended; None where that cannot be seen."""

    async def ask(self, do: str, what: str, **arguments: Any) -> dict[str, Any]:
        """A request of the worker's protocol (passthru/worker/protocol.py), ``what`` in words ("to bind a device").

        Returns what the reply holds. Raises Unusable, PassthruError, WorkerLost, DeadlineExceeded.
        """

    def path_of(self, path: Path) -> str:
        """Where a file of this machine, which the run brings to the host, is there. Raises PassthruError if nowhere."""

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        """The command that runs ``main()`` of a module's ``__main__`` of passthru there; see ``lean_command``."""

    async def set_deadline(self, deadline: Deadline) -> None:
        """Replace the deadline of everything on this host, for an interactive shell say."""
