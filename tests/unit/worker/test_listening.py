# SPDX-License-Identifier: GPL-2.0-or-later
"""Sockets that others make: whether somebody listens, found without connecting, and waiting until somebody does."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from passthru.worker.listening import Awaited, listens, remove_left_over

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.worker.conftest import RawWorker

BIND = "import os,signal,socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);"


@pytest.fixture
def unix(place: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        yield made


def test_nobody_listens_at_what_is_no_socket(place: Path) -> None:
    (place / "file").touch()
    assert not listens(str(place / "file"))
    assert not listens(str(place / "none"))
    assert not listens(str(place))


def test_it_is_found_without_connecting(place: Path, unix: socket.socket) -> None:
    path = str(place / "s")
    unix.bind(path)
    assert not listens(path)
    unix.listen()
    assert listens(path)
    unix.setblocking(False)
    with pytest.raises(BlockingIOError):
        unix.accept()
    unix.close()
    assert not listens(path)  # the file is still there


def test_a_full_queue_listens_too(place: Path, unix: socket.socket) -> None:
    path = str(place / "s")
    unix.bind(path)
    unix.listen(0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        assert listens(path)


def test_a_name_bound_from_its_directory(place: Path, unix: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    unix.bind("s")
    unix.listen()
    (place / "link").symlink_to(place)
    monkeypatch.chdir("/")
    assert listens(str(place / "s"))
    assert listens(str(place / "link" / "s"))


def test_only_what_is_left_over_is_removed(place: Path, unix: socket.socket) -> None:
    path = place / "s"
    unix.bind(str(path))
    unix.listen()
    remove_left_over(str(path))
    assert path.exists()
    unix.close()
    remove_left_over(str(path))
    assert not path.exists()
    path.touch()
    remove_left_over(str(path))
    assert path.exists()


def test_the_moment_between_bind_and_listen_is_looked_at_again(place: Path, unix: socket.socket) -> None:
    path = str(place / "s")
    awaited = Awaited()
    assert awaited.seconds() is None
    awaited.add(7, path)
    assert (awaited.done(), awaited.seconds()) == ([], None)
    unix.bind(path)
    assert select.select([awaited], [], [], 20)[0]
    assert awaited.done() == []
    assert awaited.seconds()
    unix.listen()
    assert awaited.done() == [7]
    assert (awaited.done(), awaited.seconds()) == ([], None)
    os.close(awaited.fileno())


def test_the_worker_answers_when_somebody_listens(worker: RawWorker, place: Path) -> None:
    reply, _ = worker.ask("listening", socket="{socket:late}", wait=False)
    assert reply["ok"] == {"listening": False}
    worker.stream.send({"id": "later", "do": "listening", "socket": "{socket:late}", "wait": True})
    worker.ask("hello")  # it serves others meanwhile
    worker.start(sys.executable, "-c", f"{BIND} s.listen(); signal.pause()", "{socket:late}")
    while not (found := [event for event in worker.events if event.get("id") == "later"]):
        worker.events.append(worker.next_message()[0])
    assert found == [{"id": "later", "ok": {"listening": True}}]
    reply, _ = worker.ask("listening", socket="{socket:late}", wait=True)
    assert reply["ok"] == {"listening": True}


@pytest.mark.parametrize(
    ("path", "words"),
    [("here", "no absolute path"), ("/x\0y", "no absolute path"), ("/no/such/s", "/no/such: No such file or dir")],
)
def test_where_nobody_can_listen(worker: RawWorker, path: str, words: str) -> None:
    reply, _ = worker.ask("listening", socket=path, wait=True)
    assert words in reply["error"]["message"]


def test_a_child_runs_in_its_directory(worker: RawWorker, place: Path, dies: Callable[[int], bool]) -> None:
    (place / "prog ram").write_text("#!/bin/sh\npwd >out; exec sleep 600\n")
    (place / "prog ram").chmod(0o755)
    worker.start("sh", "-c", "pwd >out.sh", directory=str(place))
    worker.event("exited")
    assert (place / "out.sh").read_text() == f"{place}\n"
    started, _ = worker.start("./prog ram", directory=str(place))
    worker.ask("kill", child=started["child"])
    assert dies(started["pid"])
    reply, _ = worker.ask("start", name="x", argv=["true"], env={}, streams=[], listens=[], directory="/no/such")
    assert "there is no directory /no/such" in reply["error"]["message"]
    reply, _ = worker.ask(
        "start", name="x", argv=["./none"], env={}, streams=[], listens=[], output=None, directory=str(place)
    )
    assert f"there is no file {place}/./none" in reply["error"]["message"]


def test_a_socket_that_a_child_made_goes_with_it(worker: RawWorker, place: Path) -> None:
    made = place / "made"
    worker.start(sys.executable, "-c", f"{BIND} s.listen(); signal.pause()", str(made), makes=[str(made)])
    worker.ask("listening", socket=str(made), wait=True)
    worker.hang_up()
    assert worker.process.wait(20) == 0
    assert not made.exists()


def test_the_end_of_a_listener_that_is_no_child_is_told(worker: RawWorker, place: Path) -> None:
    path = str(place / "s")
    script = f"{BIND} s.listen(); os.fork(); print(flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, start_new_session=True
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == server.stdout.readline() == b"\n"
        reply, _ = worker.ask("watch", socket=path)
        assert reply["ok"] == {"processes": 2}
        server.kill()
        reply, _ = worker.ask("listening", socket=path, wait=False)
        assert reply["ok"] == {"listening": True}  # its child holds it
        os.killpg(server.pid, signal.SIGKILL)
        assert worker.event("gone") == {"event": "gone", "socket": path}
    reply, _ = worker.ask("watch", socket=path)
    assert reply["ok"] == {"processes": 0}
