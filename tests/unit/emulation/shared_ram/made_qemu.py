# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sockets of a QEMU: qtest, which notes what it is told, and QMP with a machine's objects."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTROLLER = "/machine/unattached/device[7]"
OBJECTS = [
    {"name": "device[0]", "type": "child<cortex-a57-arm-cpu>"},
    {"name": "device[7]", "type": "child<arm-gicv3>"},
    {"name": "device[8]", "type": "child<arm-gicv3-its>"},
]
SECONDS = 10.0


class MadeQemu:
    """Listens in ``directory``; ``said`` are qtest's commands, ``levels`` the lines, ``words`` what was written."""

    def __init__(self, directory: Path, objects: list[dict[str, str]] | None = None) -> None:
        self.qtest, self.qmp = str(directory / "qtest"), str(directory / "qmp")
        self.said: list[str] = []
        self.levels: dict[int, bool] = {}
        self.edges: list[int] = []
        self.words: list[tuple[int, int]] = []
        self.refuses = False
        self.mute = False
        self._objects = OBJECTS if objects is None else objects
        self._open: list[socket.socket] = []
        self._changed = threading.Condition()
        self._threads = [self._listen(self.qtest, self._qtest), self._listen(self.qmp, self._qmp)]

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true of what was said."""
        end = time.monotonic() + SECONDS
        with self._changed:
            while not true():
                assert self._changed.wait(end - time.monotonic()), f"in vain; QEMU was told {self.said}"

    def end(self) -> None:
        """QEMU is no more."""
        for each in self._open:
            with contextlib.suppress(OSError):  # whoever was connected has gone before
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        for each in self._open:
            each.close()
        self._open.clear()

    def _listen(self, path: str, serve: Callable[[socket.socket], None]) -> threading.Thread:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen()
        self._open.append(listener)

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # `end`, before anybody came
            self._open.append(connection)
            with contextlib.suppress(ConnectionError):  # whoever is killed leaves our words unread
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        return thread

    def _qtest(self, connection: socket.socket) -> None:
        for line in connection.makefile("r"):
            if self.mute:
                continue
            connection.sendall(b"FAIL Unknown command\n" if self.refuses else b"OK\n")
            with self._changed:
                self._note(line.strip())
                self._changed.notify_all()

    def _note(self, line: str) -> None:
        self.said.append(line)
        match line.split():
            case ["set_irq_in", controller, "unnamed-gpio-in", number, level]:
                assert controller == CONTROLLER
                self.levels[int(number)] = level == "1"
                if level == "1":
                    self.edges.append(int(number))
            case ["writel", address, value]:
                self.words.append((int(address, 16), int(value, 16)))

    def _qmp(self, connection: socket.socket) -> None:
        connection.sendall(b'{"QMP": {"version": {}, "capabilities": []}}\r\n')
        for line in connection.makefile("r"):
            command: dict[str, Any] = json.loads(line)
            if command["execute"] == "qom-list" and command["arguments"]["path"] == "/machine/unattached":
                answer: object = {"return": self._objects}
            elif command["execute"] == "qmp_capabilities":
                connection.sendall(b'{"event": "RESUME", "timestamp": {}}\r\n')
                answer = {"return": {}}
            else:
                answer = {"error": {"class": "CommandNotFound", "desc": "no such command"}}
            connection.sendall(json.dumps(answer).encode() + b"\r\n")
