# SPDX-License-Identifier: GPL-2.0-or-later
"""However a host ends, nothing is left: no process, no socket, no directory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.deadline import Deadline
from passthru.errors import PassthruError, Unusable, WorkerLost
from passthru.host import ChildSpec, Host, local, open_local_host, worker_host
from passthru.host.events import WorkerEnded, WorkerStarted
from passthru.host.python import lean_command
from tests.unit.host import harness
from tests.unit.host.harness import FAMILY_SPEC, family_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.events import Event

    Dies = Callable[[int], bool]

SLEEP = ("sleep", "1000")


def worker_pid(told: list[Event]) -> int:
    return next(event.pid for event in told if isinstance(event, WorkerStarted))


async def start_family(host: Host) -> list[int]:
    return await family_pids(await host.start(FAMILY_SPEC))


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt, asyncio.CancelledError, SystemExit])
async def test_leaving_by_any_way(
    place: Path, told: list[Event], dies: Dies, error: type[BaseException] | None
) -> None:
    pids: list[int] = []
    with contextlib.suppress(*([error] if error else [])):
        async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
            pids = await start_family(host)
            if error:
                raise error
    assert len(pids) == 3
    # Not "soon": leaving has waited for it.
    for pid in (worker_pid(told), *pids):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert list(place.iterdir()) == []
    assert isinstance(told[-1], WorkerEnded)
    assert (told[-1].lost, told[-1].failed) == (None, ())


async def test_the_error_of_the_body_is_the_one_told(place: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_local_host(deadline=Deadline.after(20)) as host:
            await host.start(ChildSpec("sleep", SLEEP))
            raise ZeroDivisionError


async def test_cancelled_while_waiting_and_while_leaving(place: Path, told: list[Event], dies: Dies) -> None:
    """Ctrl-C, and again while the worker is being ended: that is not cut short."""
    child_pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run() -> None:
        async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
            child = await host.start(ChildSpec("sleep", SLEEP))
            child_pid.set_result(child.pid)
            await child.wait()

    task = asyncio.ensure_future(run())
    pid = await child_pid
    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for process in (worker_pid(told), pid):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


async def test_cancelled_while_starting(place: Path) -> None:
    async def run() -> None:
        async with open_local_host(deadline=Deadline.after(20)):
            raise AssertionError("cancelled before")

    task = asyncio.ensure_future(run())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_children_are_told_of_their_end_when_leaving(place: Path) -> None:
    async with open_local_host(deadline=Deadline.after(20)) as host:
        child = await host.start(ChildSpec("sleep", SLEEP, streams=("s",)))
    assert (await child.exited).signal == signal.SIGKILL
    assert child.streams["s"].fileno() == -1
    assert not host.lost.done()
    with pytest.raises(WorkerLost):
        await host.start(ChildSpec("sleep", SLEEP))


@pytest.mark.parametrize(
    ("signum", "told_as"),
    [(signal.SIGKILL, "it was killed by SIGKILL"), (signal.SIGTERM, "it received SIGTERM")],
)
async def test_lost_worker_is_noticed_by_whoever_waits(
    place: Path, told: list[Event], dies: Dies, signum: int, told_as: str
) -> None:
    async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
        sleeper = await host.start(ChildSpec("sleep", SLEEP, listens=("l",)))
        pids = await start_family(host)
        waiting = asyncio.ensure_future(sleeper.wait())
        await asyncio.sleep(0)
        os.kill(worker_pid(told), signum)
        async with asyncio.timeout(20):
            with pytest.raises(WorkerLost, match=told_as):
                await waiting
            with pytest.raises(WorkerLost, match=told_as):
                await asyncio.shield(host.lost)
            with pytest.raises(WorkerLost, match=told_as):
                await host.start(ChildSpec("sleep", SLEEP))
            with pytest.raises(WorkerLost, match=told_as):
                await sleeper.kill()
    for pid in (worker_pid(told), sleeper.pid, *pids):
        assert dies(pid)
    assert list(place.iterdir()) == []
    assert isinstance(told[-1], WorkerEnded)
    assert told[-1].failed == ()


async def test_hung_worker_is_killed(
    place: Path, told: list[Event], dies: Dies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "END_SECONDS", 0.3)
    async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
        pids = await start_family(host)
        os.kill(worker_pid(told), signal.SIGSTOP)
    for pid in (worker_pid(told), *pids):
        assert dies(pid)
    ended = next(event for event in told if isinstance(event, WorkerEnded))
    assert ended.lost is not None
    assert "it had to be killed: waited 0.3 s for the worker to end" in ended.lost
    assert ended.failed == ()


async def test_a_hung_worker_does_not_answer_in_time(
    place: Path, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "END_SECONDS", 0.3)
    with pytest.raises(PassthruError, match="for the worker to start sleep, in vain"):
        async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
            await host.set_deadline(Deadline.after(0.3))
            os.kill(worker_pid(told), signal.SIGSTOP)
            await host.start(ChildSpec("sleep", SLEEP))


async def test_the_workers_own_deadline(
    place: Path, told: list[Event], dies: Dies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a harness that hangs: this one just never looks at its own."""
    monkeypatch.setattr(worker_host, "GRACE_SECONDS", 0.0)
    async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
        pids = await start_family(host)
        await host.set_deadline(Deadline.after(0.05))
        async with asyncio.timeout(20):
            with pytest.raises(WorkerLost, match="its deadline passed"):
                await asyncio.shield(host.lost)
    assert all(dies(pid) for pid in pids)
    assert list(place.iterdir()) == []


async def test_a_deadline_can_be_taken_away(host: Host) -> None:
    await host.set_deadline(Deadline())
    assert (await (await host.start(ChildSpec("true", ("true",)))).wait(Deadline.after(20))).code == 0


async def test_a_worker_that_cannot_start(monkeypatch: pytest.MonkeyPatch, told: list[Event]) -> None:
    monkeypatch.setattr(local, "lean_command", lambda *_: ("/not/there",))
    with pytest.raises(Unusable, match=r"cannot start a worker process on this machine: .*/not/there"):
        async with open_local_host(deadline=Deadline.after(20)):
            pass
    monkeypatch.setattr(local, "lean_command", lambda *_: ("sh", "-c", "echo 'no such luck' >&2; exit 3"))
    with pytest.raises(Unusable, match="exited with status 3; it last said: no such luck"):
        async with open_local_host(deadline=Deadline.after(20), tell=told.append):
            pass


async def test_a_worker_without_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys, passthru.worker.scratch as s; s.candidates = lambda: ['/proc', '/' + 90 * 'x'];"
        "from passthru.worker.__main__ import main; sys.exit(main())"
    )
    monkeypatch.setattr(local, "lean_command", lambda _, *arguments: (sys.executable, "-c", program, *arguments))
    with pytest.raises(Unusable, match=r"cannot start: there is no place .*/proc: .*too long .*; set TMPDIR"):
        async with open_local_host(deadline=Deadline.after(20)):
            pass


async def test_a_worker_that_dies_before_it_has_said_hello(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import os, sys, passthru.worker.service as s; s.Worker.serve = lambda self: os.kill(os.getpid(), 9);"
        "from passthru.worker.__main__ import main; sys.exit(main())"
    )
    monkeypatch.setattr(local, "lean_command", lambda _, *arguments: (sys.executable, "-c", program, *arguments))
    with pytest.raises(Unusable, match="it was killed by SIGKILL"):
        async with open_local_host(deadline=Deadline.after(20)):
            pass
    assert list(place.iterdir()) == []


async def test_a_worker_of_another_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "PROTOCOL", 99)
    with pytest.raises(Unusable, match="speaks version 1 of the protocol, not 99; reinstall"):
        async with open_local_host(deadline=Deadline.after(20)):
            pass


async def test_very_long_tmpdir(tmp_path: Path, told: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("d" * 200)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    async with open_local_host(deadline=Deadline.after(20), tell=told.append) as host:
        child = await host.start(ChildSpec("sleep", SLEEP, listens=("l" * 32,)))
        scratch = next(Path(event.scratch) for event in told if isinstance(event, WorkerStarted))
        assert scratch.parent == Path("/tmp")
        assert (scratch / ("l" * 32)).is_socket()
        await child.kill()
    assert not scratch.exists()
    assert list(long.iterdir()) == []


@pytest.fixture
def harness_process(place: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Any]]]:
    """Starts a harness as a process; gives it and what it told."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*wrapper: str) -> tuple[subprocess.Popen[bytes], Any]:
        pipe = tmp_path / "told"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(reader, True)
        keep_open = os.open(pipe, os.O_WRONLY)  # until the harness has opened it, reading would end
        assert harness.__file__
        process = subprocess.Popen([*wrapper, sys.executable, harness.__file__, str(pipe)], stderr=subprocess.PIPE)
        running.append(process)
        with os.fdopen(reader, "rb") as file:
            text = read_json(file.fileno(), process)
        os.close(keep_open)
        return process, json.loads(text)

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stderr
        process.stderr.close()


def read_json(fd: int, process: subprocess.Popen[bytes]) -> bytes:
    """One JSON object from a pipe, unless the process ends first."""
    pidfd = os.pidfd_open(process.pid)
    try:
        text = b""
        while not text.endswith(b"}"):
            readable, _, _ = select.select([fd, pidfd], [], [], 20)
            assert fd in readable, process.stderr and process.stderr.read().decode()
            text += os.read(fd, 1 << 16)
        return text
    finally:
        os.close(pidfd)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV])
def test_a_killed_harness_leaves_nothing(
    harness_process: Callable[..., tuple[subprocess.Popen[bytes], Any]], dies: Dies, signum: int
) -> None:
    process, told = harness_process()
    assert told["echo"] == "there and back"
    pidfds = {pid: os.pidfd_open(pid) for pid in (told["worker"], *told["children"])}  # all of them live
    process.send_signal(signum)
    for pid, pidfd in pidfds.items():
        assert dies(pid)
        os.close(pidfd)
    assert not Path(told["scratch"]).exists()
    assert len(told["children"]) == 4


def test_a_harness_without_standard_descriptors(
    harness_process: Callable[..., tuple[subprocess.Popen[bytes], Any]], dies: Dies
) -> None:
    process, told = harness_process("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    assert told["echo"] == "there and back"
    assert min(told["streams"]) > 2
    process.kill()
    assert all(dies(pid) for pid in (told["worker"], *told["children"]))
    assert not Path(told["scratch"]).exists()


def test_lean_command_finds_passthru_in_a_zip_file(tmp_path: Path) -> None:
    """And an installed one, wherever it is: no site module, no PYTHONPATH, no current directory."""
    archive = tmp_path / "passthru.zip"
    package = Path(local.__file__).parent.parent
    with zipfile.ZipFile(archive, "w") as file:
        for module in [package / "__init__.py", *(package / "worker").rglob("*.py")]:
            file.write(module, module.relative_to(package.parent))
    command = list(lean_command("passthru.worker"))
    command[-1] = str(archive)
    found = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, timeout=20, check=False)
    assert (found.returncode, found.stderr.split(" ")[0]) == (2, "usage:")
