# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker process driven frame by frame: what it answers, and what ends it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.stream import MAX_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.worker.conftest import RawWorker

    Dies = Callable[[int], bool]

SLEEP = ("sleep", "1000")


def test_hello(worker: RawWorker, place: Path) -> None:
    reply, _ = worker.ask("hello")
    assert reply["ok"]["protocol"] == 1
    assert reply["ok"]["pid"] == worker.process.pid
    assert Path(reply["ok"]["scratch"]).parent == place
    assert os.getsid(worker.process.pid) == worker.process.pid  # no terminal's signals reach it


@pytest.mark.parametrize(
    ("do", "arguments", "message"),
    [
        ("dance", {}, "this worker cannot 'dance'; it can hello, "),
        ("start", {"argv": "sleep"}, "'start' has a wrong or no argument 'argv'"),
        ("start", {"argv": []}, "a child without argv"),
        ("start", {"argv": ["a\0b"]}, "without zero bytes"),
        ("start", {"argv": ["true"], "env": {"A": 1}}, "env must map names without '=' to strings"),
        ("start", {"argv": ["true"], "env": {"A=B": "1"}}, "env must map names without '=' to strings"),
        ("start", {"argv": ["true"], "output": "a\0b"}, "the path of the output or the directory holds a zero byte"),
        ("start", {"argv": ["true"], "streams": ["a", "a"]}, "have the same name"),
        ("start", {"argv": ["true"], "streams": ["a/b"]}, "'a/b' cannot name a stream"),
        ("start", {"argv": ["true", "{stream:x}"]}, "the child has no stream 'x'"),
        ("kill", {"child": 7}, "there is no child 7"),
        ("signal", {"child": 7, "signal": 15}, "there is no child 7"),
        ("deadline", {"seconds": "soon"}, "wrong or no argument 'seconds'"),
    ],
)
def test_requests_that_make_no_sense(worker: RawWorker, do: str, arguments: dict[str, object], message: str) -> None:
    defaults: dict[str, object] = {"name": "child", "env": {}, "streams": [], "listens": [], "output": None}
    reply, _ = worker.ask(do, **((defaults if do == "start" else {}) | arguments))
    assert reply["error"]["kind"] == "request"
    assert message in reply["error"]["message"]
    assert "ok" in worker.ask("hello")[0]  # it lives on


def test_a_failed_start_leaves_nothing(worker: RawWorker) -> None:
    scratch = worker.ask("hello")[0]["ok"]["scratch"]
    before = sorted(Path(f"/proc/{worker.process.pid}/fd").iterdir())
    for argv in (["/not/there"], ["true", "{stream:missing}"], ["/etc/passwd"]):
        reply, fds = worker.ask(
            "start", name="x", argv=argv, env={}, streams=["a", "b"], listens=["l"], output="/dev/null"
        )
        assert reply["error"]["message"].startswith("cannot start x: ")
        assert fds == []
    worker.ask("start", name="x", argv=["true"], env={}, streams=["a", "b/c"], listens=[], output=None)
    assert sorted(Path(f"/proc/{worker.process.pid}/fd").iterdir()) == before
    assert [file.name for file in Path(scratch).iterdir()] == [".lock"]


def end_of_stream(worker: RawWorker) -> None:
    worker.hang_up()


def end_by_request(worker: RawWorker) -> None:
    reply, _ = worker.ask("end")
    assert reply["ok"] == {"failed": []}


def end_by_sigterm(worker: RawWorker) -> None:
    worker.process.terminate()
    assert worker.event("ending")["reason"] == "it received SIGTERM"


def end_by_sigint(worker: RawWorker) -> None:
    worker.process.send_signal(signal.SIGINT)
    assert worker.event("ending")["reason"] == "it received SIGINT"


def end_by_sighup(worker: RawWorker) -> None:
    worker.process.send_signal(signal.SIGHUP)
    assert worker.event("ending")["reason"] == "it received SIGHUP"


def end_by_deadline(worker: RawWorker) -> None:
    assert worker.ask("deadline", seconds=0.05)[0]["ok"] == {}
    assert "deadline" in worker.event("ending")["reason"]
    assert worker.event("ended")["failed"] == []


def end_by_garbage(worker: RawWorker) -> None:
    worker.socket.sendall(struct.pack(">I", 9) + b"nonsense!")
    assert "holds no JSON" in worker.event("ending")["reason"]


def end_by_oversized_frame(worker: RawWorker) -> None:
    worker.socket.sendall(struct.pack(">I", MAX_FRAME + 1))
    assert f"announced {MAX_FRAME + 1} bytes" in worker.event("ending")["reason"]


def end_in_the_middle_of_a_frame(worker: RawWorker) -> None:
    worker.socket.sendall(struct.pack(">I", 1000) + b'{"id"')
    worker.hang_up()


# A child that has a child in its group, and one that left by forking twice into a session of its own.
FAMILY = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
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


def start_family(worker: RawWorker) -> tuple[int, list[int], socket.socket]:
    """Its child number, its process ids, and the stream that every one of them holds open."""
    child, (fd,) = worker.start(sys.executable, "-I", "-S", "-c", FAMILY, streams=["pids"])
    stream = socket.socket(fileno=fd)
    stream.settimeout(20)
    lines = b""
    while lines.count(b"\n") < 3:
        data = stream.recv(100)
        assert data, "the family died before it had told who they are"
        lines += data
    return child["child"], [int(line) for line in lines.split()], stream


@pytest.mark.parametrize(
    "end",
    [
        end_of_stream,
        end_by_request,
        end_by_sigterm,
        end_by_sigint,
        end_by_sighup,
        end_by_deadline,
        end_by_garbage,
        end_by_oversized_frame,
        end_in_the_middle_of_a_frame,
    ],
)
def test_every_end_leaves_nothing(worker: RawWorker, dies: Dies, end: Callable[[RawWorker], None]) -> None:
    scratch = Path(worker.ask("hello")[0]["ok"]["scratch"])
    sleeper, _ = worker.start(*SLEEP, listens=["l"])
    assert (scratch / "l").is_socket()
    _, pids, stream = start_family(worker)
    end(worker)
    with stream:
        assert stream.recv(1) == b""  # nobody holds the other end any more
    assert worker.process.wait(20) == 0
    assert all(dies(pid) for pid in [sleeper["pid"], *pids])
    assert not scratch.exists()
    assert worker.process.stderr is not None
    assert worker.process.stderr.read() == ""


def test_kill_ends_the_whole_family_and_nobody_else(worker: RawWorker, dies: Dies) -> None:
    sleeper, _ = worker.start(*SLEEP)
    number, pids, stream = start_family(worker)
    assert worker.ask("kill", child=number)[0]["ok"] == {}
    with stream:
        assert stream.recv(1) == b""
    assert all(dies(pid) for pid in pids)
    event = worker.event("exited")
    assert (event["child"], event["signal"]) == (number, signal.SIGKILL)
    os.kill(sleeper["pid"], 0)
    worker.ask("hello")
    assert worker.events == []


def test_kill_reaches_what_an_exited_child_left(worker: RawWorker, dies: Dies) -> None:
    number, (leader, *rest), stream = start_family(worker)
    os.kill(leader, signal.SIGKILL)
    assert worker.event("exited")["child"] == number
    for pid in rest:
        os.kill(pid, 0)
    assert worker.ask("signal", child=number, signal=signal.SIGKILL)[0]["ok"] == {}
    assert worker.ask("kill", child=number)[0]["ok"] == {}
    stream.close()
    assert all(dies(pid) for pid in rest)


def test_sigkill_of_the_worker_takes_its_children_along(start_worker: Callable[..., RawWorker], dies: Dies) -> None:
    """The kernel kills the children; the next worker finds what they left."""
    worker = start_worker()
    scratch = Path(worker.ask("hello")[0]["ok"]["scratch"])
    sleeper, _ = worker.start(*SLEEP)
    _, (leader, *rest), stream = start_family(worker)
    worker.process.kill()
    assert dies(sleeper["pid"])
    assert dies(leader)
    for pid in rest:
        os.kill(pid, 0)
    assert scratch.exists()
    start_worker().ask("hello")
    with stream:
        assert stream.recv(1) == b""
    assert all(dies(pid) for pid in rest)
    assert not scratch.exists()


def test_orphans_are_not_left_as_zombies(worker: RawWorker, dies: Dies) -> None:
    """The worker, their subreaper, waits for the adopted too."""
    child, (fd,) = worker.start("sh", "-c", "(true & echo $! >&{stream:s}) & wait", streams=["s"])
    with socket.socket(fileno=fd) as stream:
        stream.settimeout(20)
        orphan = int(stream.recv(100))
    assert worker.event("exited")["child"] == child["child"]
    assert dies(orphan)
    end = time.monotonic() + 20
    while Path(f"/proc/{orphan}").exists():
        assert time.monotonic() < end, "nobody waited for it"
        worker.ask("hello")


def test_children_get_no_foreign_descriptors(start_worker: Callable[..., RawWorker], tmp_path: Path) -> None:
    foreign = os.open(tmp_path, os.O_RDONLY)
    worker = start_worker(foreign)
    os.close(foreign)
    listing = tmp_path / "listing"
    _, fds = worker.start("sh", "-c", "cd /proc/$$/fd; ls -l", streams=["s"], listens=["l"], output=str(listing))
    assert worker.event("exited")["code"] == 0
    links = sorted(line.split(" -> ")[1] for line in listing.read_text().splitlines() if " -> " in line)
    assert [link.split(":")[0] for link in links] == ["/dev/null", str(listing), str(listing), "socket", "socket"]
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("arguments", [[], ["--fd"], ["--fd", "x"], ["--fd", "3", "4"], ["--fd", "99"]])
def test_wrong_command_lines(arguments: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "passthru.worker", *arguments], capture_output=True, text=True, timeout=20, check=False
    )
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1


def test_what_a_child_prints_is_told_where_that_is_asked_for(worker: RawWorker) -> None:
    """All of it before its exit, byte for byte; standard error too."""
    script = "printf 'a\\377\\n'; echo b >&2; exit 3"
    started, descriptors = worker.start("sh", "-c", script, tell_output=True)
    assert descriptors == []
    exited = worker.event("exited")
    printed = [event for event in worker.events if event["event"] == "output"]
    assert {event["child"] for event in printed} == {started["child"]}
    assert "".join(event["data"] for event in printed).encode("latin-1") == b"a\xff\nb\n"
    assert exited["code"] == 3


def test_a_child_needs_a_port_for_each_stream(worker: RawWorker) -> None:
    request: dict[str, Any] = {
        "name": "child",
        "argv": ["true"],
        "env": {},
        "streams": ["a", "b"],
        "listens": [],
        "output": None,
    }
    reply, _ = worker.ask("start", **request, ports=["only.one"])
    assert reply["error"]["message"] == "a child needs as many ports as it has streams and pipes"
