# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes that were started without standard descriptors."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from passthru.worker.stream import FramedStream

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.worker.stream import Message

PROGRAM = """
import fcntl, json, os, socket, sys
from passthru.worker.descriptors import above_standard, tidy_standard
ends = [end.detach() for end in socket.socketpair()]
before = list(ends)
ends[0] = above_standard(ends[0])
ends[1] = tidy_standard(ends[1])
os.write(ends[0], b"x")
works = os.read(ends[1], 1) == b"x"
standard = [os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)]
inheritable = [os.get_inheritable(end) for end in ends]
same = above_standard(ends[0]) == ends[0]
with open(sys.argv[1], "w") as file:
    json.dump([before, min(ends), works, standard, inheritable, same], file)
"""


def test_they_are_moved_away_and_filled_up(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = [sys.executable, "-c", PROGRAM, str(told)]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], timeout=20, check=True)
    assert json.loads(told.read_text()) == [[0, 1], 3, True, ["/dev/null"] * 3, [False, False], True]


def test_a_worker_whose_stream_is_standard_input(tmp_path: Path, place: Path) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "passthru.worker", "--fd", "0"]
    with theirs:
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command],
            stdin=theirs.fileno(),
            env=os.environ | {"TMPDIR": str(place)},
        )
    output = tmp_path / "output"
    stream = FramedStream(ours.dup().detach())
    try:
        script = "cat; echo out; echo err >&2; echo {stream:s} >&{stream:s}"
        request: Message = {"name": "sh", "argv": ["sh", "-c", script], "env": {}, "output": str(output)}
        request |= {"streams": ["s"], "listens": []}
        stream.send({"id": 1, "do": "start", **request})
        assert select.select([stream], [], [], 20)[0]
        ((reply, (fd,)),) = stream.receive()
        assert "ok" in reply
        with socket.socket(fileno=fd) as end:
            end.settimeout(20)
            assert end.recv(10) == b"3\n"
            assert end.recv(10) == b""
        assert output.read_text() == "out\nerr\n"
    finally:
        stream.close()
        ours.close()
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()
