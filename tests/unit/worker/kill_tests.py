#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker is killed, and its stream is ended, at every step of preparing devices and giving them back.

Run on a made machine by the unit tests, and as a script inside a rig on a real kernel's sysfs, where it prints TAP:

    python3 kill_tests.py --assignments '[{"name": "mtty0", "bus": "mdev", ...}]' [--roots /] [--only 1,3]
                          [--worker WORD ...]

``--only`` chooses among the four tests by number. ``--worker`` and the words after it start a worker; ``--fd N`` and
more are added. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Message = dict[str, Any]
    Act = Callable[["Harness"], None]

SECONDS = 60.0
# More steps than any transaction has: a worker that never gets to the end is a mistake in the test.
_MOST_STEPS = 200


class WorkerDied(Exception):
    """Its stream ended before it answered."""


class Harness:
    """One worker and the other end of its stream."""

    def __init__(self, command: Sequence[str], *options: str) -> None:
        ours, theirs = socket.socketpair()
        self.socket = ours
        self._data = b""
        self._number = 0
        with theirs:
            self.process = subprocess.Popen(
                [*command, "--fd", str(theirs.fileno()), *options], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )

    def ask(self, do: str, **arguments: Any) -> Message:
        """The reply to a request. Raises WorkerDied, AssertionError for an error."""
        self.send(do, **arguments)
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "ok" in message, message
                ok: Message = message["ok"]
                return ok

    def send(self, do: str, **arguments: Any) -> None:
        """A request whose answer nobody waits for."""
        self._number += 1
        body = json.dumps({"id": self._number, "do": do, **arguments}).encode()
        try:
            self.socket.sendall(struct.pack(">I", len(body)) + body)
        except OSError as error:
            raise WorkerDied from error

    def _next(self) -> Message:
        end = time.monotonic() + SECONDS
        while len(self._data) < 4 or len(self._data) < 4 + struct.unpack(">I", self._data[:4])[0]:
            assert select.select([self.socket], [], [], max(0.0, end - time.monotonic()))[0], "the worker says nothing"
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                part = b""
            if not part:
                raise WorkerDied
            self._data += part
        size = struct.unpack(">I", self._data[:4])[0]
        body, self._data = self._data[4 : 4 + size], self._data[4 + size :]
        message: Message = json.loads(body)
        return message

    def stopped(self) -> bool:
        """Wait until it is stopped (True) or has ended (False)."""
        with self._watchdog():
            state = os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            return state is not None and state.si_code == os.CLD_STOPPED

    def hang_up(self) -> int:
        """End its stream; returns its exit status."""
        self.socket.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
        with self._watchdog():
            return self.process.wait()

    @contextlib.contextmanager
    def _watchdog(self) -> Iterator[None]:
        timer = threading.Timer(SECONDS, self.process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def default_state(root: str) -> str:
    """Where the journals are, as the worker's own System says it."""
    return f"{root}/run/passthru" if os.getuid() == 0 else f"{root}/tmp/passthru-journal-{os.getuid()}"


def snapshot(root: str) -> dict[str, object]:
    """All of a machine that steps change: what must be as before."""
    pci = f"{root}/sys/bus/pci/devices"
    found: dict[str, object] = {}
    for address in _names(pci):
        found[address] = {
            "driver": _link(f"{pci}/{address}/driver"),
            **{name: _read(f"{pci}/{address}/{name}") for name in _ATTRIBUTES},
        }
    for bus in _ON_CHIP:
        for name in _names(f"{root}/sys/bus/{bus}/devices"):
            if name.endswith(".auto"):
                continue  # made by a driver, and gone with it: the kernel's alarm timer on the first clock
            device = f"{root}/sys/bus/{bus}/devices/{name}"
            found[f"{bus} {name}"] = {
                "driver": _link(f"{device}/driver"),
                "driver_override": _read(f"{device}/driver_override"),
            }
    state = default_state(root)
    return {
        **found,
        "links": {name: _read(f"{root}/sys/class/net/{name}/flags") for name in _names(f"{root}/sys/class/net")},
        "mdevs": _names(f"{root}/sys/bus/mdev/devices"),
        "modules": _names(f"{root}/sys/module"),
        "journals": [name for name in _names(state) if name.startswith("worker-") and _is_dead(f"{state}/{name}")],
    }


_ON_CHIP = ("platform", "amba", "fsl-mc")
_ATTRIBUTES = ("driver_override", "sriov_numvfs", "sriov_drivers_autoprobe")


def _is_dead(path: str) -> bool:
    with Path(path).open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _link(path: str) -> str | None:
    try:
        return Path(path).readlink().name
    except OSError:
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _names(path: str) -> list[str]:
    try:
        return sorted(entry.name for entry in Path(path).iterdir())
    except OSError:
        return []


def prepare_and_release(assignments: Sequence[Message]) -> Act:
    """The transactions of a run: each device prepared, the first one released, the rest at the end."""

    def act(harness: Harness) -> None:
        for assignment in assignments:
            harness.ask("prepare", assignment=assignment)
        assert harness.ask("release", name=assignments[0]["name"]) == {"failed": []}
        assert harness.ask("end") == {"failed": []}

    return act


def killed(command: Sequence[str], root: str, act: Act, when: str) -> Iterator[int]:
    """The worker dies at each step in turn, "before" or "after" it; `recover` makes all as before. Yields the steps."""
    before = snapshot(root)
    with _ended(Harness(command, "--roots", root)) as recoverer:
        for number in range(1, _MOST_STEPS):
            worker = Harness(command, "--roots", root, f"--stop-{when}", str(number))
            try:
                act(worker)
                died = False
            except WorkerDied:
                died = True
            finally:
                status = worker.hang_up()
            assert died == (status == -signal.SIGKILL), f"the worker ended with status {status}"
            if died:
                recovered = recoverer.ask("recover")
                assert recovered["failed"] == recovered["kept"] == [], recovered
            assert_same(before, snapshot(root), f"killed {when} step {number}")
            if not died:
                return
            yield number
    raise AssertionError("it never came to its end")


def hung_up(command: Sequence[str], root: str, act: Act, when: str) -> Iterator[int]:
    """The worker's stream ends at each step in turn, while the worker is held there; all is as before at once."""
    before = snapshot(root)
    for number in range(1, _MOST_STEPS):
        options = (f"--stop-{when}", str(number), "--stop-with", str(int(signal.SIGSTOP)))
        worker = Harness(command, "--roots", root, *options)
        acting = threading.Thread(target=_ignoring_death, args=(act, worker), daemon=True)
        acting.start()
        stopped = worker.stopped()
        worker.socket.shutdown(socket.SHUT_RDWR)
        acting.join(SECONDS)  # it reads the end of the stream, which must not be closed under it
        assert worker.hang_up() == 0, "the worker could not undo all of it"
        assert_same(before, snapshot(root), f"the stream ended {when} step {number}")
        if not stopped:
            return
        yield number
    raise AssertionError("it never came to its end")


def _ignoring_death(act: Act, worker: Harness) -> None:
    with contextlib.suppress(WorkerDied, OSError):
        act(worker)


@contextlib.contextmanager
def _ended(worker: Harness) -> Iterator[Harness]:
    try:
        yield worker
    finally:
        worker.hang_up()


def assert_same(before: dict[str, object], after: dict[str, object], when: str) -> None:
    """Raises AssertionError naming what differs."""
    changed = {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}
    assert not changed, f"{when}: not as before: {changed}"


_DEATHS = ((killed, "before"), (killed, "after"), (hung_up, "before"), (hung_up, "after"))


def main() -> int:
    """Exit status 0 when all is as before after every death."""
    words = sys.argv[1:]
    worker = [sys.executable, "-m", "passthru.worker"]
    if "--worker" in words:
        at = words.index("--worker")
        words, worker = words[:at], words[at + 1 :]
    options = dict(zip(words[::2], words[1::2], strict=True))
    root = options.get("--roots", "/").rstrip("/")
    act = prepare_and_release(json.loads(options["--assignments"]))
    only = [int(number) for number in options.get("--only", "1,2,3,4").split(",")]
    status = 0
    print(f"1..{len(only)}", flush=True)
    for number, (kind, when) in enumerate(_DEATHS, 1):
        if number not in only:
            continue
        name = f"{number} - worker {'killed' if kind is killed else 'without its stream'} {when} each step"
        try:
            steps = sum(1 for _ in kind(worker, root or "/", act, when))
            assert steps > 0, "there was no step"
            print(f"ok {name} ({steps})", flush=True)
        except AssertionError as error:
            status = 1
            print(f"not ok {name}\n# {error}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
