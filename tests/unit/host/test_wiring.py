# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams by lines out of a rig; a line here is one end of a socket pair, of which the test has the other."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import PassthruError, Unusable
from passthru.host.host import ChildSpec
from passthru.host.place import InRig
from passthru.host.wiring import ByLines, close_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MUCH = bytes(range(256)) * 8192


class Lines:
    """Two lines, and their far ends, as a rig's QEMU has them."""

    def __init__(self) -> None:
        pairs = {name: socket.socketpair() for name in ("one", "two")}
        self.inside = {name: inside for name, (_, inside) in pairs.items()}
        self.ours = {name: ours for name, (ours, _) in pairs.items()}
        for end in (*self.inside.values(), *self.ours.values()):
            end.setblocking(False)
        self.wiring = ByLines(self.ours)


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    lines = Lines()
    yield lines
    await lines.wiring.finished()
    for end in (*lines.inside.values(), *lines.ours.values()):
        end.close()


async def read(end: socket.socket, count: int) -> bytes:
    async with asyncio.timeout(10):
        data = b""
        while len(data) < count:
            data += await asyncio.get_running_loop().sock_recv(end, count - len(data))
        return data


async def the_end(end: socket.socket) -> bytes:
    async with asyncio.timeout(10):
        data = b""
        while more := await asyncio.get_running_loop().sock_recv(end, 1 << 16):
            data += more
        return data


def spec(output: Path | None = None) -> ChildSpec:
    return ChildSpec("qemu", ("true",), streams=("agent",), pipes=("ttyS0",), output=output)


async def test_streams_and_pipes_are_carried_both_ways(lines: Lines) -> None:
    wires = lines.wiring.wires(spec())
    assert wires.arguments() == {"output": None, "ports": ["one", "two"], "tell_output": False}
    streams, pipes = wires.connect([])
    lines.inside["one"].send(b"said")
    assert await read(streams["agent"], 4) == b"said"
    streams["agent"].send(b"told")
    assert await read(lines.inside["one"], 4) == b"told"
    said, told = pipes["ttyS0"]
    told.write(b"typed")
    assert await read(lines.inside["two"], 5) == b"typed"
    lines.inside["two"].send(b"login:")
    with socket.socket(fileno=os.dup(said.fileno())) as end:
        assert await read(end, 6) == b"login:"
    for each in (said, told, streams["agent"]):
        each.close()
    wires.ended()


async def test_what_was_said_before_the_end_comes_before_it(lines: Lines) -> None:
    """Also more than a socket holds, to a reader that reads only now."""
    wires = lines.wiring.wires(spec())
    streams, pipes = wires.connect([])
    async with asyncio.timeout(10):
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(lines.inside["one"], MUCH))
        got = await read(streams["agent"], len(MUCH) // 2)
        rest = asyncio.create_task(read(streams["agent"], len(MUCH) - len(got) - 100))
        await sending
        got += await rest
    wires.ended()
    got += await the_end(streams["agent"])
    assert got == MUCH
    close_streams(streams, pipes)


async def test_lines_are_lent_again(lines: Lines) -> None:
    wires = lines.wiring.wires(spec())
    with pytest.raises(Unusable, match="qemu needs 2 lines out of the rig, of whose 2 only 0 are free"):
        lines.wiring.wires(spec())
    wires.ended()  # it was never started
    await lines.wiring.finished()
    wires = lines.wiring.wires(spec())
    streams, pipes = wires.connect([])
    wires.ended()
    assert await the_end(streams["agent"]) == b""
    await lines.wiring.finished()
    again = lines.wiring.wires(spec())
    more, more_pipes = again.connect([])
    lines.inside["one"].send(b"second")
    assert await read(more["agent"], 6) == b"second"
    again.ended()
    close_streams(streams, pipes)
    close_streams(more, more_pipes)


async def test_what_a_child_prints_goes_to_its_file(lines: Lines, tmp_path: Path) -> None:
    output = tmp_path / "qemu.log"
    wires = lines.wiring.wires(spec(output))
    assert wires.arguments()["tell_output"] is True
    wires.printed("a\xff")
    wires.printed("b\n")
    assert output.read_bytes() == b"a\xffb\n"
    wires.ended()


def test_files_of_a_rig_are_those_it_was_booted_with(lines: Lines) -> None:
    place = InRig(lines.wiring, {Path("/here/kernel"): "/there/k", Path("/tests"): "/there/t"}, "/bin/py", "/code")
    assert place.path_of(Path("/here/kernel")) == "/there/k"
    assert place.path_of(Path("/tests/a/b.c")) == "/there/t/a/b.c"
    with pytest.raises(PassthruError, match="the rig was booted without /here/other, which is needed there"):
        place.path_of(Path("/here/other"))
    command = place.own_command("passthru.worker", "--fd", "3")
    assert command[0] == "/bin/py"
    assert command[-3:] == ("/code", "--fd", "3")
