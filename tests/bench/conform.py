# SPDX-License-Identifier: GPL-2.0-or-later
"""How long the whole conformance suite takes on the Python mtty at a socket, by itself and as a command."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

TURNS = 3
SECONDS = 120


def measure(turns: int = TURNS) -> dict[str, float]:
    """``conform_seconds`` of the suite, ``conform_command_seconds`` of ``passthru conform``; medians."""
    with tempfile.TemporaryDirectory(prefix="passthru-bench-") as made:
        socket = Path(made) / "mtty.sock"
        server = subprocess.Popen(
            [sys.executable, "-m", "passthru.emulation", "mtty", "--socket", socket],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # who it is disconnected by: the suite sends malformed messages
        )
        try:
            assert server.stdout is not None
            if not server.stdout.readline():
                raise RuntimeError("the device server did not start")
            target = json.dumps({"transport": "vfio-user", "socket": str(socket)})
            suite = [sys.executable, "-I", "-m", "passthru.vfio.conform", "--target", target]
            command = [
                sys.executable,
                "-m",
                "passthru",
                "conform",
                "--vfio-user",
                socket,
                "--runs",
                Path(made) / "runs",
            ]
            return {
                "conform_seconds": statistics.median(_seconds(suite) for _ in range(turns)),
                "conform_command_seconds": statistics.median(_seconds(command) for _ in range(turns)),
            }
        finally:
            server.terminate()
            server.wait(timeout=SECONDS)
            if server.stdout:
                server.stdout.close()


def _seconds(command: Sequence[object]) -> float:
    began = time.monotonic()
    ended = subprocess.run([str(word) for word in command], check=False, capture_output=True, timeout=SECONDS)
    seconds = time.monotonic() - began
    if ended.returncode or b"passed" not in ended.stdout:
        raise RuntimeError(f"the suite did not pass: {ended.stdout.decode()}")
    return round(seconds, 3)


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
