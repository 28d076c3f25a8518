# SPDX-License-Identifier: GPL-2.0-or-later
"""The suite as a process, against a socket."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SECONDS = 60.0  # no run of a test is longer


@dataclass(frozen=True)
class Verdict:
    """What came of one test."""

    verdict: str
    summary: str
    details: tuple[str, ...]


def judge(path: str, only: Iterable[str] = (), *, time_limit: float = 5.0) -> dict[str, Verdict]:
    """Run the suite, or some of its tests, against the server at ``path``; the verdicts by name."""
    command = [sys.executable, "-m", "passthru.vfio.conform"]
    command += ["--target", json.dumps({"transport": "vfio-user", "socket": path}), "--time-limit", str(time_limit)]
    for name in only:
        command += ["--only", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        event["test"]: Verdict(event["verdict"], event["summary"], tuple(event["details"]))
        for event in events
        if event["event"] == "ended"
    }
