# SPDX-License-Identifier: GPL-2.0-or-later
"""Children on the local host: arguments, streams, sockets, output, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, PassthruError, Unusable
from passthru.host import ChildSpec, Exit
from passthru.host.events import ChildExited, ChildStarted
from tests.unit.host.harness import FAMILY_SPEC, family_pids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passthru.events import Event
    from passthru.host import Host

    Dies = Callable[[int], bool]
    Read = Callable[[socket.socket], Awaitable[bytes]]

SLEEP = ("sleep", "1000")


async def output_of(host: Host, file: Path, *argv: str, **env: str) -> str:
    """What a short program writes."""
    child = await host.start(ChildSpec("short", argv, env=env, output=file))
    assert await child.wait(Deadline.after(20)) == Exit(code=0, cpu=(await child.exited).cpu)
    return os.fsdecode(file.read_bytes())


async def test_streams_connect_both_ways(host: Host, read: Read) -> None:
    child = await host.start(ChildSpec("cat", ("sh", "-c", "cat <&{stream:in} >&{stream:out}"), streams=("in", "out")))
    assert {name: stream.getblocking() for name, stream in child.streams.items()} == {"in": False, "out": False}
    child.streams["in"].send(b"there and back")
    assert await read(child.streams["out"]) == b"there and back"
    child.streams["in"].shutdown(socket.SHUT_WR)
    assert await read(child.streams["out"]) == b""
    assert (await child.wait(Deadline.after(20))).code == 0


async def test_pipes_connect_both_ways_and_join_small_writes(host: Host) -> None:
    said = "for i in $(seq 5000); do echo; done >&{said:line}; cat <&{told:line} >&{said:line}"
    child = await host.start(ChildSpec("talk", ("sh", "-c", said), pipes=("line",)))
    said_end, told_end = child.pipes["line"]
    told_end.write(b"there and back")
    told_end.close()
    assert (await child.wait(Deadline.after(20))).code == 0
    assert said_end.read(65536) == b"\n" * 5000 + b"there and back"
    assert said_end.read(65536) == b""


async def test_inherited_descriptors_are_the_lowest(host: Host) -> None:
    """Streams, then listening sockets, from 3 on: a shell may know no number above 9."""
    spec = ChildSpec("sleep", ("true", "{listen:l}", "{stream:b}", "{stream:a}"), streams=("a", "b"), listens=("l",))
    assert (await host.start(spec)).argv == ("true", "5", "4", "3")


async def test_large_transfer(host: Host, read: Read) -> None:
    child = await host.start(ChildSpec("zeros", ("sh", "-c", "head -c 5000000 /dev/zero >&{stream:s}"), streams=("s",)))
    total = 0
    while data := await read(child.streams["s"]):
        total += len(data)
    assert total == 5_000_000


async def test_listening_socket_connects_before_its_owner_accepts(host: Host, read: Read, tmp_path: Path) -> None:
    path = Path(await output_of(host, tmp_path / "path", "printf", "%s", "{socket:mtty0}"))
    assert len(os.fsencode(path)) < 108
    server = await host.start(ChildSpec("server", SLEEP, listens=("mtty0",)))  # never accepts
    client = await host.start(
        ChildSpec(
            "client",
            (
                *(sys.executable, "-I", "-S", "-c"),
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
                "s.send(b'x'); socket.socket(fileno=int(sys.argv[2])).send(b'connected')",
                "{socket:mtty0}",
                "{stream:s}",
            ),
            streams=("s",),
        )
    )
    assert client.argv[-2] == str(path)
    assert await read(client.streams["s"]) == b"connected"
    with pytest.raises(PassthruError, match="server listens on the socket 'mtty0' already"):
        await host.start(ChildSpec("other", SLEEP, listens=("mtty0",)))
    await server.kill()
    await host.start(ChildSpec("successor", SLEEP, listens=("mtty0",)))


async def test_listening_socket_is_inherited(host: Host, read: Read) -> None:
    program = (
        "import socket; l = socket.socket(fileno={listen:l}); c, _ = l.accept();"
        "socket.socket(fileno={stream:s}).send(c.recv(100))"
    )
    server = await host.start(ChildSpec("server", (sys.executable, "-ISc", program), streams=("s",), listens=("l",)))
    await host.start(
        ChildSpec(
            "client",
            (
                *(sys.executable, "-ISc"),
                "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('{socket:l}'); s.send(b'hello')",
            ),
        )
    )
    assert await read(server.streams["s"]) == b"hello"


async def test_output_is_appended(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("before\n")
    assert await output_of(host, file, "sh", "-c", "echo out; echo err >&2") == "before\nout\nerr\n"


async def test_standard_input_is_empty_and_the_session_its_own(host: Host, tmp_path: Path) -> None:
    script = "cat; cut -d' ' -f5,6,7 /proc/$$/stat; echo $$"
    group, session, terminal, pid = (await output_of(host, tmp_path / "out", "sh", "-c", script)).split()
    assert group == session == pid
    assert terminal == "0"


async def test_environment_is_added_to(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = await output_of(host, tmp_path / "out", "env", COLOUR="gr\u00fcn", LANG="C")
    lines = text.splitlines()
    assert {"COLOUR=gr\u00fcn", "LANG=C", f"PATH={os.environ['PATH']}"} <= {*lines}


async def test_signals_are_the_default_again(host: Host, tmp_path: Path) -> None:
    """Python ignores SIGPIPE; a child that ignored it too would behave unlike under a shell."""
    text = await output_of(host, tmp_path / "out", "cat", "/proc/self/status")
    status = dict(line.split(":", 1) for line in text.splitlines())
    # 32 and 33 are glibc's own; its posix_spawn, by which make starts us, leaves them ignored. Nobody can change them.
    ours = ~(0b11 << 31)
    assert [int(status[key], 16) & ours for key in ("SigBlk", "SigIgn", "SigCgt")] == [0, 0, 0]


async def test_relative_output_is_relative_to_us(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    await output_of(host, Path("log"), "echo", "here")
    assert (tmp_path / "log").read_text() == "here\n"


async def test_arguments_with_odd_bytes(host: Host, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe") + '"{\u00e4}\n\t'
    await output_of(host, tmp_path / "out", "printf", "%s", odd)
    assert (tmp_path / "out").read_bytes() == os.fsencode(odd)


@pytest.mark.parametrize("code", [0, 1, 7, 255])
async def test_exit_codes(host: Host, told: list[Event], code: int) -> None:
    child = await host.start(ChildSpec("sh", ("sh", "-c", f"exit {code}")))
    end = await child.wait(Deadline.after(20))
    assert (end.code, end.signal) == (code, None)
    assert str(end) == f"exited with status {code}"
    started, exited = told[-2:]
    assert started == ChildStarted("sh", child.pid, ("sh", "-c", f"exit {code}"))
    assert exited == ChildExited("sh", child.pid, code, None, end.cpu)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGSEGV, signal.SIGKILL, signal.SIGRTMIN])
async def test_ends_by_signals(host: Host, signum: int) -> None:
    child = await host.start(ChildSpec("sleep", SLEEP))
    await child.signal(signum)
    end = await child.wait(Deadline.after(20))
    assert (end.code, end.signal) == (None, signum)
    await child.signal(signum)  # to nobody, without an error
    assert "was killed by SIG" in str(end)


async def test_unknown_signal_is_told_by_its_number() -> None:
    assert str(Exit(signal=40)) == "was killed by signal 40"


async def test_kill_takes_the_family(host: Host, read: Read, dies: Dies) -> None:
    child = await host.start(FAMILY_SPEC)
    pids = await family_pids(child)
    assert (await child.kill()).signal == signal.SIGKILL
    assert await read(child.streams["pids"]) == b""
    assert all(dies(pid) for pid in pids)
    assert (await child.kill()).signal == signal.SIGKILL  # once more


async def test_stop_is_gentle_first(host: Host, read: Read) -> None:
    gentle = await host.start(
        ChildSpec(
            "gentle",
            ("sh", "-c", "trap 'exit 3' TERM; echo >&{stream:s}; while :; do sleep 1000 & wait; done"),
            streams=("s",),
        )
    )
    await read(gentle.streams["s"])
    assert (await gentle.stop()).code == 3
    deaf = await host.start(
        ChildSpec("deaf", ("sh", "-c", "trap '' TERM; echo >&{stream:s}; while :; do sleep 1000; done"), streams=("s",))
    )
    await read(deaf.streams["s"])
    assert (await deaf.stop(0.05)).signal == signal.SIGKILL


async def test_waiting_has_a_deadline_and_harms_nobody(host: Host) -> None:
    child = await host.start(ChildSpec("sleep", SLEEP))
    with pytest.raises(DeadlineExceeded, match=rf"sleep \(process {child.pid}\) to exit"):
        await child.wait(Deadline.after(0.01))
    waiting = asyncio.ensure_future(child.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await child.kill()).signal == signal.SIGKILL


async def test_cpu_time_is_told(host: Host) -> None:
    idle = await host.start(ChildSpec("true", ("true",)))
    busy = await host.start(
        ChildSpec("busy", (sys.executable, "-ISc", "while __import__('time').process_time() < 0.2: pass"))
    )
    assert (await busy.wait(Deadline.after(20))).cpu >= 0.2
    assert (await idle.wait(Deadline.after(20))).cpu < 0.2


def bad_programs(directory: Path) -> dict[str, tuple[ChildSpec, str]]:
    """Programs that cannot be started, and what is said about them."""
    plain = directory / "plain"
    plain.write_text("text")
    no_interpreter = directory / "script"
    no_interpreter.write_text("#!/not/there\n")
    no_interpreter.chmod(0o755)
    garbage = directory / "garbage"
    garbage.write_bytes(b"\x7fELF" + bytes(100))
    garbage.chmod(0o755)
    return {
        "missing": (ChildSpec("x", ("/not/there",)), "there is no file /not/there; check the path"),
        "not on PATH": (ChildSpec("x", ("no-such-program-at-all",)), "no program 'no-such-program-at-all' in PATH ("),
        "not executable": (ChildSpec("x", (str(plain),)), f"{plain} is not executable; chmod"),
        "no interpreter": (ChildSpec("x", (str(no_interpreter),)), "the interpreter or loader that it names is not"),
        "directory": (ChildSpec("x", (str(directory),)), f"{directory} is a directory; name a program"),
        "garbage": (ChildSpec("x", (str(garbage),)), f"{garbage} is no program for this machine"),
        "too long": (ChildSpec("x", ("true", "a" * 200_000)), "are too long; shorten them"),
        "no place for output": (
            ChildSpec("x", ("true",), output=directory / "not" / "there"),
            f"its output cannot be written to {directory}/not/there: No such file or directory",
        ),
    }


@pytest.mark.parametrize(
    "what",
    [
        *("missing", "not on PATH", "not executable", "no interpreter", "directory", "garbage", "too long"),
        "no place for output",
    ],
)
async def test_programs_that_cannot_be_started(host: Host, tmp_path: Path, what: str) -> None:
    spec, expected = bad_programs(tmp_path)[what]
    with pytest.raises(Unusable) as caught:
        await host.start(spec)
    assert str(caught.value).startswith("cannot start x: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_frame_too_large(host: Host) -> None:
    with pytest.raises(PassthruError, match="does not fit into one frame"):
        await host.start(ChildSpec("x", ("true", *("a" * 100_000 for _ in range(50)))))
    assert (await (await host.start(ChildSpec("true", ("true",)))).wait(Deadline.after(20))).code == 0


async def test_many_children_at_once(host: Host, read: Read) -> None:
    specs = [ChildSpec(f"echo{i}", ("sh", "-c", f"echo {i} >&{{stream:s}}"), streams=("s",)) for i in range(30)]
    children = await asyncio.gather(*map(host.start, specs))
    assert [int(await read(child.streams["s"])) for child in children] == list(range(30))
    assert {(await child.wait(Deadline.after(20))).code for child in children} == {0}


async def test_descriptors_do_not_leak(host: Host, read: Read) -> None:
    """Neither here nor in the worker."""
    count = "read go <&{stream:s}; ls /proc/$PPID/fd | wc -l >&{stream:s}"
    here, there = [], []
    for _ in range(6):
        child = await host.start(ChildSpec("sh", ("sh", "-c", count), streams=("s",), listens=("l",)))
        await child.signal(signal.SIGCONT)  # the worker is done with the start before it answers this
        child.streams["s"].send(b"go\n")
        there.append(int(await read(child.streams["s"])))
        await child.wait(Deadline.after(20))
        child.streams["s"].close()
        here.append(len(list(Path("/proc/self/fd").iterdir())))
    assert len({*here}) == len({*there}) == 1


async def test_a_cancelled_start_leaves_no_child(host: Host, read: Read, told: list[Event]) -> None:
    other = await host.start(ChildSpec("other", SLEEP, streams=("s",)))
    for _ in range(3):
        starting = asyncio.ensure_future(host.start(ChildSpec("unwanted", SLEEP, streams=("s",))))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    # Requests are served in order: by now the three have been started and killed.
    await other.signal(signal.SIGCONT)
    gone = [event for event in told if isinstance(event, ChildExited)]
    while len(gone) < 3:
        await (await host.start(ChildSpec("true", ("true",)))).wait(Deadline.after(20))
        gone = [event for event in told if isinstance(event, ChildExited) and event.name == "unwanted"]
    assert {event.signal for event in gone} == {signal.SIGKILL}
    assert not other.exited.done()
