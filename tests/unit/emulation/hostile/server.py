# SPDX-License-Identifier: GPL-2.0-or-later
"""A server process that hostile clients are let loose on."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation.client import SECONDS, Client
from tests.unit.emulation.hostile.tally import TALLY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_ROOT = Path(__file__).parents[4]
_MODULES = {"scratch": "tests.unit.emulation.hostile.serve_scratch"}
_LIBC = ctypes.CDLL(None, use_errno=True)
_DISCONNECTED = "the client is disconnected: "


class Server:
    """It listens at ``path`` and writes its stderr to the file ``errors``."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, errors: Path) -> None:
        self.process = process
        self.path = path
        self._errors = errors
        with self.client() as client:
            self._rest = self._holds(client)

    def connect(self) -> socket.socket:
        """A connection on which nothing has been said."""
        connection = socket.socket(socket.AF_UNIX)
        # A blocking connect waits while the server's queue is full, as QEMU's does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("@ll", int(SECONDS), 0))
        connection.connect(str(self.path))
        connection.settimeout(SECONDS)
        return connection

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A sound client, which has agreed upon a version."""
        client = Client(self.connect())
        try:
            client.version()
            yield client
        finally:
            client.close()

    def serve_another(self) -> None:
        """The next client is served, and no descriptor and no mapping of those before is left."""
        with self.client() as client:
            assert self._holds(client) == self._rest
        TALLY.served_after += 1

    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def resident(self) -> int:
        """The most memory that it ever had, in bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        raise AssertionError("the kernel does not tell")

    def has_read(self, connection: socket.socket) -> None:
        """Wait until it has read all that was sent on ``connection``."""
        self._observe(lambda: not _unread(connection), "it does not read")

    def is_stuck(self, connection: socket.socket) -> None:
        """Wait until it sleeps although there is something to read on ``connection``, and goes on sleeping."""
        seen: list[bool] = []

        def stuck() -> bool:
            state = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            seen.append(state == "S" and _unread(connection) > 0)
            return all(seen[-5:]) and len(seen) >= 5

        self._observe(stuck, "it is not stuck")

    def _observe(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for something that the kernel shows in /proc or by an ioctl, but does not announce."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, otherwise
            time.sleep(0.005)

    def said(self) -> list[str]:
        """The lines of its stderr so far."""
        return self._errors.read_text().splitlines()

    def disconnects(self) -> list[str]:
        """Why it ended connections so far."""
        return [line.removeprefix(_DISCONNECTED) for line in self.said() if line.startswith(_DISCONNECTED)]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; returns its exit status."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def _holds(self, client: Client) -> tuple[int, int]:
        """Descriptors and mapped files of memory, while this client is served."""
        reply = client.call(user.VFIO_USER_DEVICE_GET_INFO, vfio.DEVICE_INFO.pack(16, 0, 0, 0))
        assert not reply.error
        return self.descriptors(), Path(f"/proc/{self.process.pid}/maps").read_text().count("/memfd:")


@contextmanager
def started(
    model: str = "scratch",
    *,
    limits: Mapping[int, int] | None = None,
    privileged: bool = True,
    ended_by_test: bool = False,
) -> Iterator[Server]:
    """A server of ``model``. At the end it must serve, have made no mistake, and end by SIGTERM with 0.

    ``limits`` are resource limits by ``resource.RLIMIT_*``; without ``privileged`` even root's may not be exceeded.
    """

    def limit() -> None:
        if not privileged:
            without_privileges()
        for number, value in (limits or {}).items():
            resource.setrlimit(number, (value, value))

    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as made, ExitStack() as stack:
        path, errors = Path(made) / "s", Path(made) / "errors"
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULES.get(model, "passthru.emulation"), model, "--socket", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=_ROOT,
                preexec_fn=limit,
            )
        assert process.stdout is not None
        stack.callback(process.stdout.close)
        stack.callback(process.wait, SECONDS)
        stack.callback(process.kill)
        assert select.select([process.stdout], [], [], SECONDS)[0], "the server did not start"
        assert process.stdout.readline(), errors.read_text()
        server = Server(process, path, errors)
        yield server
        if not ended_by_test:
            assert process.poll() is None, f"the server is dead ({process.returncode}): {server.said()}"
            server.serve_another()
            assert server.end() == 0
        TALLY.disconnects += len(server.disconnects())
        assert len(server.said()) == len(server.disconnects()), server.said()


def without_privileges() -> None:
    """Between fork and exec: the program that follows may not exceed limits, also where it is root's.

    Only the capabilities go (CAP_SYS_ADMIN, CAP_SYS_RESOURCE, by PR_CAPBSET_DROP of prctl(2)): another user may be
    unable to read this checkout, or its Python.
    """
    if os.geteuid() == 0:
        for capability in (21, 24):
            if _LIBC.prctl(24, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl(PR_CAPBSET_DROP)")


def _unread(connection: socket.socket) -> int:
    """How much of what was sent has not been read, as the kernel counts it."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), "little")
