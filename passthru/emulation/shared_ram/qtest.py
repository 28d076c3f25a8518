# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's qtest socket, beside a guest that runs: lines of its interrupt controller, and writes to its devices.

QEMU, softmmu/qtest.c: a command is a line, and so is its answer, which begins with OK or FAIL. QEMU answers when its
main loop comes to it, so an interrupt has been delivered to the controller when the answer is here.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import TYPE_CHECKING

from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_SECONDS = 60.0
"""A machine that is stopped, or starved on a loaded host, takes its time."""
_AGAIN_SECONDS = 0.02
_CHUNK = 4096


class QemuGone(Exception):
    """QEMU closed the socket: its machine is no more."""


def connect(path: str, seconds: float) -> socket.socket:
    """A connection to the UNIX socket ``path``, which QEMU may still have to make.

    Raises Unusable where nobody listens there within ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED) or time.monotonic() >= end:
                raise Unusable(
                    f"QEMU's socket {path} cannot be reached within {seconds:g} s: {error.strerror}; "
                    "start QEMU with it (-qtest unix:PATH,server=on,wait=off)"
                ) from error
            select.select((), (), (), _AGAIN_SECONDS)  # a path cannot be waited for otherwise
        else:
            return connection


class LineStream:
    """Lines of a socket, each with a deadline. ``what`` names the other side in errors."""

    def __init__(self, connection: socket.socket, what: str) -> None:
        self.connection = connection
        self._what = what
        self._received = bytearray()

    def send(self, line: str, seconds: float) -> None:
        """Send a line. Raises QemuGone, and Unusable where it is not taken in time."""
        self._within(seconds, lambda: self.connection.sendall(line.encode() + b"\n"))

    def receive(self, seconds: float) -> str:
        """The next line. Raises QemuGone, and Unusable where none comes in time."""
        end = time.monotonic() + seconds
        while b"\n" not in self._received:
            data = self._within(end - time.monotonic(), lambda: self.connection.recv(_CHUNK))
            if not data:
                raise QemuGone(f"QEMU closed its {self._what}")
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    def _within(self, seconds: float, act: Callable[[], bytes | None]) -> bytes | None:
        try:
            self.connection.settimeout(max(seconds, 0.001))
            return act()
        except TimeoutError as error:
            raise Unusable(f"QEMU's {self._what} did not answer in time; is its machine stopped?") from error
        except (ConnectionError, BrokenPipeError) as error:
            raise QemuGone(f"QEMU closed its {self._what}") from error


class Qtest:
    """The commands that a device needs. ``controller`` is the QOM path of the interrupt controller, if lines are."""

    def __init__(self, connection: socket.socket, controller: str = "") -> None:
        self._stream = LineStream(connection, "qtest socket")
        self._controller = controller
        self._levels: dict[int, bool] = {}

    @property
    def descriptor(self) -> int:
        """To be waited for: it is readable when QEMU has gone."""
        return self._stream.connection.fileno()

    def set_line(self, spi: int, level: bool) -> None:
        """Raise or lower a shared peripheral interrupt, numbered as in a device tree. Raises QemuGone, Unusable."""
        if self._levels.get(spi, False) != level:
            self._command(f"set_irq_in {self._controller} unnamed-gpio-in {spi} {int(level)}")
            self._levels[spi] = level

    def pulse(self, spi: int) -> None:
        """Raise and lower it: for interrupts that the device tree calls edge-triggered."""
        self.set_line(spi, True)
        self.set_line(spi, False)

    def write_word(self, address: int, value: int) -> None:
        """Write 4 bytes to a physical address, as a device does that is no PCI function (DeviceID 0)."""
        self._command(f"writel {address:#x} {value:#x}")

    def check_alive(self) -> None:
        """Raise QemuGone if QEMU has gone; it says nothing of its own accord."""
        if select.select((self.descriptor,), (), (), 0)[0]:
            line = self._stream.receive(ANSWER_SECONDS)
            raise Unusable(f"QEMU's qtest socket said {line!r} unasked; is another program connected to it?")

    def close(self) -> None:
        """Hang up; QEMU lowers no lines for that."""
        self._stream.connection.close()

    def _command(self, line: str) -> None:
        self._stream.send(line, ANSWER_SECONDS)
        answer = self._stream.receive(ANSWER_SECONDS)
        if answer.split(" ")[0] != "OK":
            raise Unusable(f"QEMU's qtest refused {line!r}: {answer}")
