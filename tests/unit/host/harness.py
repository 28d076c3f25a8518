# SPDX-License-Identifier: GPL-2.0-or-later
"""A small harness in a process of its own: starts a family of processes and tells who they are, in JSON.

    python harness.py FILE     FILE, often a named pipe, gets the one line; then the harness waits to be killed

A file rather than standard output: it is also run with its standard descriptors closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.host import ChildSpec, open_local_host
from passthru.host.events import WorkerStarted

if TYPE_CHECKING:
    from passthru.events import Event
    from passthru.host import Child

# A child that has a child in its group, and one that left by forking twice into a session of its own.
FAMILY = """
import os, signal
def tell():
    os.write({stream:pids}, b"%d\\n" % os.getpid())
tell()
if os.fork() == 0:
    tell()
    signal.pause()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        tell()
        signal.pause()
    os._exit(0)
os.waitpid(-1, 0)
signal.pause()
"""
FAMILY_SPEC = ChildSpec("family", (sys.executable, "-I", "-S", "-c", FAMILY), streams=("pids",))


async def family_pids(family: Child) -> list[int]:
    """The process ids of a started FAMILY_SPEC."""
    lines = b""
    while lines.count(b"\n") < 3:
        async with asyncio.timeout(20):
            data = await asyncio.get_running_loop().sock_recv(family.streams["pids"], 100)
        assert data, "the family died before it had told who they are"
        lines += data
    return [int(line) for line in lines.split()]


async def main(where: Path) -> None:
    """Start everything, tell, wait."""
    told: list[Event] = []
    async with open_local_host(deadline=Deadline.after(60), tell=told.append) as host:
        family = await host.start(FAMILY_SPEC)
        # Both ways of a stream, whatever the numbers of the standard descriptors are used for.
        cat = await host.start(ChildSpec("cat", ("sh", "-c", "cat <&{stream:s} >&{stream:s}"), streams=("s",)))
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(cat.streams["s"], b"there and back")
        echo = await loop.sock_recv(cat.streams["s"], 100)
        pids = await family_pids(family)
        started = next(event for event in told if isinstance(event, WorkerStarted))
        where.write_text(
            json.dumps(
                {
                    "worker": started.pid,
                    "scratch": started.scratch,
                    "children": [cat.pid, *pids],
                    "echo": echo.decode(),
                    "streams": [stream.fileno() for stream in (*cat.streams.values(), *family.streams.values())],
                }
            )
        )
        await family.wait(Deadline.after(60))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
