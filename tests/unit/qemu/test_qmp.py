# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP session over a connected socket; the other end is played here, message by message."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from qemu.qmp import Runstate

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble
from passthru.qemu.qmp import Qmp, QmpEvent, QmpRefused, connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

GREETING = {"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 3}}, "capabilities": []}}
SECONDS = 20.0


class Far:
    """QEMU's end."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(False)
        self.stream = stream

    async def say(self, *messages: dict[str, Any]) -> None:
        text = "".join(json.dumps(message) + "\r\n" for message in messages)
        await asyncio.get_running_loop().sock_sendall(self.stream, text.encode())

    async def hear(self) -> dict[str, Any]:
        """The next command; clients send one and wait."""
        async with asyncio.timeout(SECONDS):
            data = await asyncio.get_running_loop().sock_recv(self.stream, 65536)
        request: dict[str, Any] = json.loads(data)
        return request

    async def answer(self, value: object = None, *, error: str = "", before: tuple[dict[str, Any], ...] = ()) -> str:
        """Answer the next command, after these messages; returns its name."""
        request = await self.hear()
        reply = {"error": {"class": "GenericError", "desc": error}} if error else {"return": value or {}}
        await self.say(*before, {"id": request["id"], **reply})
        return str(request["execute"])

    async def open(self) -> None:
        """Until commands can be sent."""
        await self.say(GREETING)
        assert (await self.hear())["execute"] == "qmp_capabilities"
        await self.say({"return": {}})


@pytest.fixture
def ends() -> tuple[socket.socket, Far]:
    near, far = socket.socketpair()
    near.setblocking(False)
    return near, Far(far)


@pytest.fixture
async def session(ends: tuple[socket.socket, Far], tmp_path: Path) -> AsyncIterator[tuple[Qmp, Far]]:
    near, far = ends
    with far.stream:
        opening = asyncio.create_task(far.open())
        async with connected(near, deadline=Deadline.after(SECONDS), transcript=tmp_path / "qmp.log") as qmp:
            await opening
            yield qmp, far
        assert near.fileno() == -1


def event(name: str, **data: object) -> dict[str, Any]:
    return {"event": name, "data": data, "timestamp": {"seconds": 5, "microseconds": 250000}}


async def test_a_command_is_answered_and_all_is_written_down(session: tuple[Qmp, Far], tmp_path: Path) -> None:
    qmp, far = session
    answer, asked = await asyncio.gather(qmp.execute("query-status"), far.answer({"status": "running"}))
    assert (answer, asked) == ({"status": "running"}, "query-status")
    lines = (tmp_path / "qmp.log").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["<--", "-->", "<--", "-->", "<--"]
    assert json.loads(lines[0].split(maxsplit=2)[2]) == GREETING
    assert json.loads(lines[-1].split(maxsplit=2)[2])["return"] == {"status": "running"}


async def test_a_refusal_is_a_sentence(session: tuple[Qmp, Far]) -> None:
    qmp, far = session
    with pytest.raises(QmpRefused, match=r"^QEMU refused the command device_add: no such bus$") as caught:
        await asyncio.gather(qmp.execute("device_add", {"driver": "edu"}), far.answer(error="no such bus"))
    assert (caught.value.error_class, caught.value.description) == ("GenericError", "no such bus")
    assert (await asyncio.gather(qmp.execute("cont"), far.answer()))[0] == {}


async def test_events_come_at_once_and_in_order(session: tuple[Qmp, Far]) -> None:
    qmp, far = session
    seen: list[QmpEvent] = []
    unwatch = qmp.watch(seen.append)
    before = (event("RESET", guest=True), event("SHUTDOWN", reason="guest-panic"))
    await asyncio.gather(qmp.execute("query-status"), far.answer(before=before))
    assert [one.name for one in seen] == ["RESET", "SHUTDOWN"]
    assert seen[1].data["reason"] == "guest-panic"
    assert seen[1].seconds == 5.25
    unwatch()
    await asyncio.gather(qmp.execute("query-status"), far.answer(before=(event("STOP"),)))
    assert len(seen) == 2
    assert [one.name for one in qmp.seen] == ["RESET", "SHUTDOWN", "STOP"]


async def test_waiting_for_one_event_among_others(session: tuple[Qmp, Far]) -> None:
    qmp, far = session
    wanted = qmp.wait_for({"DEVICE_DELETED"}, Deadline.after(SECONDS), lambda one: one.data.get("device") == "b")
    others = event("STOP"), event("DEVICE_DELETED", device="a"), event("DEVICE_DELETED", device="b")
    found, _ = await asyncio.gather(wanted, far.say(*others))
    assert found.data["device"] == "b"


async def test_the_event_stream_ends_with_the_connection(session: tuple[Qmp, Far]) -> None:
    qmp, far = session

    async def collect() -> list[str]:
        return [one.name async for one in qmp.events()]

    async def play() -> None:
        await far.say(event("POWERDOWN"), event("SHUTDOWN"))
        far.stream.close()

    names, _ = await asyncio.gather(collect(), play())
    assert names == ["POWERDOWN", "SHUTDOWN"]
    assert await qmp.ended == "QEMU ended its QMP connection"


async def test_death_in_the_middle_of_a_command(session: tuple[Qmp, Far]) -> None:
    qmp, far = session

    async def die() -> None:
        await far.hear()
        far.stream.close()

    with pytest.raises(GuestTrouble, match="has no QMP connection any more, asked to quit") as caught:
        await asyncio.gather(qmp.execute("quit"), die())
    assert caught.value.culprit == "qemu"
    with pytest.raises(GuestTrouble, match="asked to cont"):
        await qmp.execute("cont")
    with pytest.raises(GuestTrouble, match=r"QEMU ended its QMP connection, before STOP of QEMU"):
        await qmp.wait_for({"STOP"}, Deadline.after(SECONDS))


async def test_garbage_in_the_middle_of_a_session(session: tuple[Qmp, Far]) -> None:
    qmp, far = session
    await asyncio.get_running_loop().sock_sendall(far.stream, b"\x7fELF\n")
    async with asyncio.timeout(SECONDS):
        assert (await qmp.ended).startswith("QEMU ended its QMP connection: ")


async def test_a_command_without_an_answer_ends_at_its_deadline(session: tuple[Qmp, Far]) -> None:
    qmp, far = session
    with pytest.raises(DeadlineExceeded, match="for the answer of QEMU to the QMP command stop"):
        await qmp.execute("stop", deadline=Deadline.after(0.05))
    late = await far.hear()
    await far.say({"id": late["id"], "return": {}})
    assert (await asyncio.gather(qmp.execute("query-status"), far.answer({"status": "paused"})))[0] == {
        "status": "paused"
    }


async def test_silence_instead_of_a_greeting(ends: tuple[socket.socket, Far]) -> None:
    near, far = ends
    with far.stream, pytest.raises(DeadlineExceeded, match="for the QMP greeting of the guest"):
        async with connected(near, deadline=Deadline.after(0.05), name="the guest"):
            raise AssertionError
    assert near.fileno() == -1


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400\r\n", b"{}\r\n", b"[]\n", b'{"QMP": 1}\n'])
async def test_something_else_instead_of_a_greeting(ends: tuple[socket.socket, Far], greeting: bytes) -> None:
    near, far = ends
    far.stream.sendall(greeting)
    far.stream.close()
    with pytest.raises(GuestTrouble, match=r"^QEMU did not open its QMP session: [^\n]+$"):
        async with connected(near, deadline=Deadline.after(SECONDS)):
            raise AssertionError
    assert near.fileno() == -1


async def test_a_transcript_that_cannot_be_written_leaves_no_open_stream(
    ends: tuple[socket.socket, Far], tmp_path: Path
) -> None:
    near, far = ends
    with far.stream, pytest.raises(FileNotFoundError):
        async with connected(near, deadline=Deadline.after(SECONDS), transcript=tmp_path / "no/qmp.log"):
            raise AssertionError
    assert near.fileno() == -1


@pytest.mark.parametrize("loops", range(8))
async def test_leaving_while_the_session_breaks_leaves_no_error_behind(
    ends: tuple[socket.socket, Far], loops: int
) -> None:
    """One that nobody takes is logged by asyncio, whenever its future happens to be collected."""
    forgotten: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: forgotten.append(context["message"]))
    near, far = ends
    with far.stream:
        opening = asyncio.create_task(far.open())
        async with connected(near, deadline=Deadline.after(SECONDS)) as qmp:
            await opening
            far.stream.send(b"no JSON\r\n")
            while qmp._client.runstate is Runstate.RUNNING:
                await qmp._client.runstate_changed()
            for _ in range(loops):
                await asyncio.sleep(0)
    gc.collect()
    assert forgotten == []
