# SPDX-License-Identifier: GPL-2.0-or-later
"""A program that speaks QMP like a QEMU and boots nothing; what it does otherwise is said by a JSON file beside it.

version, arch, devices, machines, accelerators   what it answers
starts     a file that gets its arguments, one line of JSON a start
trial      what happens after the greeting: "first-line", "stop", "exit" or "silence"
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    """Answer until the other side closes."""
    what = json.loads(Path(f"{sys.argv[0]}.json").read_bytes())
    with Path(what["starts"]).open("a") as starts:
        starts.write(json.dumps(sys.argv[1:]) + "\n")
    numbers = dict(re.findall(r"socket,id=(\w+),fd=(\d+)", " ".join(sys.argv)))
    with socket.socket(fileno=int(numbers["qmp"])) as qmp:
        say(qmp, {"QMP": {"version": {}, "capabilities": ["oob"]}})
        for request in requests(qmp):
            say(qmp, {"id": request.get("id"), **answer(what, request)})
            if request["execute"] == "query-status":
                play(what.get("trial", ""), qmp, numbers)


def requests(qmp: socket.socket) -> Iterator[dict[str, Any]]:
    """What is asked; clients need not end a request with a newline."""
    text = ""
    while data := qmp.recv(65536):
        text += data.decode()
        while text:
            try:
                request, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break  # the rest is still to come
            text = text[end:].lstrip()
            yield request


def say(qmp: socket.socket, message: dict[str, Any]) -> None:
    """One message."""
    qmp.sendall(json.dumps(message).encode() + b"\n")


def answer(what: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a command, without its id."""
    major, minor, micro = map(int, what["version"].split("."))
    kind = request.get("arguments", {}).get("implements")
    names = what["devices"] if kind == "device" else [f"{name}-accel" for name in what["accelerators"]]
    answers: dict[str, Any] = {
        "qmp_capabilities": {},
        "query-version": {"qemu": {"major": major, "minor": minor, "micro": micro}, "package": " (made up)"},
        "query-target": {"arch": what["arch"]},
        "query-machines": [{"name": f"{name}-{major}.{minor}", "alias": name} for name in what["machines"]],
        "qom-list-types": [{"name": name} for name in names],
        "query-status": {"status": what.get("status", "running")},
    }
    if request["execute"] not in answers:
        return {"error": {"class": "CommandNotFound", "desc": "no such command"}}
    what["status"] = "internal-error" if what.get("trial") == "stop" else "running"
    return {"return": answers[request["execute"]]}


def play(trial: str, qmp: socket.socket, numbers: dict[str, str]) -> None:
    """What a trial guest does."""
    if trial == "first-line":
        os.write(int(numbers["ttyS0"]), b"SeaBIOS\r\nFIRST-")
        os.write(int(numbers["ttyS0"]), b"LINE\r\n")
    elif trial == "stop":
        print("KVM internal error. Suberror: 1\nRAX=0 RBX=0", file=sys.stderr, flush=True)
        say(qmp, {"event": "STOP", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}})
    elif trial == "exit":
        sys.exit("could not set up the processor")


if __name__ == "__main__":
    main()
