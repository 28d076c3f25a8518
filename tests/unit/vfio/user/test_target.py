# SPDX-License-Identifier: GPL-2.0-or-later
"""A server process at a socket: opened, left, opened again, busy, gone."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.vfio.user.target import UserTarget
from tests.unit.vfio.user.servers import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

SCR = 7


@contextmanager
def _server(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "passthru.emulation", "mtty", "--socket", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()
            process.wait(SECONDS)


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory, for socket paths are short."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        yield Path(path)


def test_it_is_opened_again_and_keeps_its_state(place: Path) -> None:
    target = UserTarget(str(place / "socket"))
    with _server(place / "socket") as process:
        first = target.open()
        first.device.write(0, SCR, b"\x42")
        with pytest.raises(ConnectionError):
            target.open()
        assert first.device.read(0, SCR, 1) == b"\x42"
        first.close()
        second = target.open()
        assert second.device.read(0, SCR, 1) == b"\x42"
        process.kill()
        process.wait(SECONDS)
        with pytest.raises(ConnectionError):
            for _ in range(2):
                second.device.read(0, SCR, 1)
        second.close()
        with pytest.raises(ConnectionRefusedError, match="cannot connect to the device server at"):
            target.open()


def test_there_is_no_server(place: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        UserTarget(str(place / "none")).open()
    with pytest.raises(OSError, match="too long"):
        UserTarget(str(place / ("x" * 200))).open()
