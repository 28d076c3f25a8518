# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for the suite, as a program: it reports tests that end as its first argument says.

    suite.py {"tests": {NAME: WHAT, ...}, "says": TEXT, "status": NUMBER} --report FD ...

WHAT: passed, failed, skipped, error; hangs; a signal's name, by which it dies; gone, after the test has failed; exits.
With a status it ends before it has begun.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from typing import Any


def main(plan: dict[str, Any], arguments: list[str]) -> int:
    """The exit status."""
    report = int(arguments[arguments.index("--report") + 1])
    if plan.get("says"):
        print(plan["says"], file=sys.stderr, flush=True)
    if "status" in plan:
        return int(plan["status"])
    only = [value for option, value in itertools.pairwise(arguments) if option == "--only"]
    tests = [name for name in plan["tests"] if not only or name in only]

    def tell(**line: object) -> None:
        os.write(report, json.dumps(line).encode() + b"\n")

    def ended(name: str, verdict: str) -> None:
        summary = "" if verdict == "passed" else f"{name} is {verdict}"
        tell(event="ended", test=name, verdict=verdict, seconds=0.25, summary=summary, details=[], cites="a call")

    tell(event="target", title="a device by a way", facts={"capabilities": ["irq"], "kernel": "6.1"})
    planned = [{"name": name, "topic": "info", "demand": f"{name} holds", "cites": "a call"} for name in tests]
    tell(event="tests", tests=planned)
    for name in tests:
        what = plan["tests"][name]
        if what == "skipped":
            ended(name, what)
            continue
        tell(event="started", test=name)
        if "--paced" in arguments and not os.read(report, 1):
            return 1
        match what:
            case "hangs":
                signal.pause()
            case "exits":
                return 3
            case "gone":
                ended(name, "failed")
                tell(event="gone", test=name, summary="nobody listens any more")
                return 0
            case _ if what.startswith("SIG"):
                os.kill(os.getpid(), signal.Signals[what])
            case _:
                ended(name, what)
    tell(event="done")
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1]), sys.argv[2:]))
