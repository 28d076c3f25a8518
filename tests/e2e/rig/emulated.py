# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig that is up, for tests that run programs in it: one serves many, as each takes seconds to boot."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import Event, tell_nobody
from passthru.host import ChildSpec, open_local_host
from passthru.host.rig import open_rig
from passthru.image.store import Store
from passthru.run.directory import RunDirectory
from passthru.run.host_hand import HostPrograms
from passthru.run.plan import make_plan
from passthru.run.what import the_request
from tests.unit.worker import kill_tests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from passthru.host import Child
    from passthru.host.rig import Rig
    from passthru.run.host_hand import Ended
    from passthru.run.plan import Plan
    from passthru.run.rig_plan import RigPlan

SCENARIO = Path(__file__).with_name("shared.toml")
BOOT_SECONDS = 60.0
SECONDS = 60.0
"""How long a program may take, stretched by the rig's accelerator."""
TESTS = "/run/tests"
"""Where the tests have files of theirs in the rig."""

_WAIT = """\
import os, select, sys
try:
    select.select([os.pidfd_open(int(sys.argv[1]))], [], [])
except ProcessLookupError:
    pass
"""
_PROCESSES = """\
import os, sys
for name in os.listdir("/proc"):
    try:
        words = open(f"/proc/{name}/cmdline").read().split("\\0") if name.isdecimal() else [""]
    except OSError:
        continue
    if sys.argv[1] in words[0]:
        print(*words)
"""


@dataclass
class EmulatedHost:
    """The handle: programs in the rig, run to their end or started, and files put there."""

    plan: Plan
    rig: Rig
    directory: Path
    told: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._programs = HostPrograms(self.rig.host, self.directory, {})
        self._numbers = itertools.count(1)

    @property
    def scale(self) -> float:
        """How much longer everything takes than on a machine with KVM."""
        return self._rig_plan.accelerator.scale

    @property
    def _rig_plan(self) -> RigPlan:
        assert self.plan.rig is not None
        return self.plan.rig

    def address(self, hardware: str) -> str:
        """Where a piece of hardware is, as an assignment names it."""
        return self._rig_plan.addresses[hardware]

    def path_of(self, brought: Path) -> str:
        """Where something that was brought in is."""
        return self.rig.host.path_of(brought)

    async def run(self, *argv: str, env: Mapping[str, str] | None = None, seconds: float = SECONDS) -> Ended:
        """Run a program to its end; both its outputs are ``stdout``."""
        running = self._programs.run(argv, env=env or {}, deadline=self.deadline(seconds))
        return await self.rig.troubles.guard(running)

    async def succeed(self, *argv: str, env: Mapping[str, str] | None = None, seconds: float = SECONDS) -> str:
        """Run a program, which must succeed; returns what it printed."""
        ended = await self.run(*argv, env=env, seconds=seconds)
        assert ended.status == 0, f"{argv} ended with status {ended.status}: {ended.stdout.decode(errors='replace')}"
        return ended.stdout.decode()

    async def start(self, name: str, *argv: str, env: Mapping[str, str] | None = None) -> Child:
        """Start a program; what it prints is in ``output(child)``."""
        name = f"{name}-{next(self._numbers)}"
        return await self.rig.host.start(ChildSpec(name, argv, env=env or {}, output=self._output(name)))

    def output(self, child: Child) -> str:
        """What a started program has printed so far."""
        path = self._output(child.name)
        return path.read_text(errors="replace") if path.exists() else ""

    async def put(self, data: bytes, path: str) -> None:
        """Write a file in the rig, and make its directory."""
        script = f'mkdir -p "${{1%/*}}" && head -c {len(data)} <&{{stream:data}} >"$1"'
        child = await self.rig.host.start(ChildSpec("put", ("sh", "-c", script, "sh", path), streams=("data",)))
        await asyncio.get_running_loop().sock_sendall(child.streams["data"], data)
        ended = await child.wait(self.deadline())
        child.streams["data"].close()
        assert ended.code == 0, f"{path} could not be written: {ended}"

    async def unpack(self, tar: bytes, path: str) -> None:
        """Unpack a tar file into a directory of the rig."""
        await self.put(tar, f"{path}.tar")
        await self.succeed("sh", "-c", 'mkdir -p "$1" && tar -x -C "$1" -f "$1.tar" && rm "$1.tar"', "sh", path)

    def deadline(self, seconds: float = SECONDS) -> Deadline:
        """The end of a wait that takes so long on a machine with KVM."""
        return Deadline.after(seconds, scale=self.scale)

    async def processes(self, word: str) -> list[str]:
        """The command lines of the rig's processes whose program has this word in its path."""
        lines = (await self.succeed("python3", "-I", "-S", "-c", _PROCESSES, word)).splitlines()
        return [line for line in lines if line]

    async def wait_for_end(self, pid: int) -> None:
        """Wait until a process of the rig has ended."""
        await self.succeed("python3", "-I", "-S", "-c", _WAIT, str(pid))

    @contextlib.asynccontextmanager
    async def modules(self, *names: str) -> AsyncIterator[None]:
        """Have modules of the kernel loaded; afterwards those that came by it are gone again."""
        before = await self._loaded()
        await self.succeed("modprobe", "-a", *names)
        yield
        # /proc/modules has the last loaded first, and what it needs after it.
        for name in [name for name in await self._loaded() if name not in before]:
            await self.succeed("rmmod", name)

    async def _loaded(self) -> list[str]:
        return [line.split()[0] for line in (await self.succeed("cat", "/proc/modules")).splitlines()]

    async def snapshot(self) -> dict[str, object]:
        """All of the rig that preparing devices changes; see ``kill_tests``."""
        script = f"import sys, json; sys.path.append({TESTS!r}); import kill_tests; "
        printed = await self.succeed("python3", "-I", "-c", script + "print(json.dumps(kill_tests.snapshot('')))")
        found: dict[str, object] = json.loads(printed)
        return found

    def _output(self, name: str) -> Path:
        return self.directory / f"{name}.log"


def rig_plan(overrides: Sequence[str] = (), scenario: Path = SCENARIO) -> Plan:
    """What the rig of ``scenario`` needs, by the code of a run; blocks."""
    return make_plan(the_request(str(scenario), overrides), Store(), tell_nobody)


@contextlib.asynccontextmanager
async def emulated(plan: Plan, directory: Path) -> AsyncIterator[EmulatedHost]:
    """Boot the rig of ``plan``; at the end nothing may be changed, and nothing may have complained."""
    assert plan.rig is not None
    told: list[Event] = []
    deadline = Deadline.after(BOOT_SECONDS, scale=plan.rig.accelerator.scale)
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_local_host(deadline=Deadline(), tell=told.append))
        spec = plan.rig.spec(RunDirectory(directory))
        opened = open_rig(spec, local, deadline=deadline, tell=told.append, directory=directory)
        rig = await stack.enter_async_context(opened)
        await rig.host.set_deadline(Deadline())
        host = EmulatedHost(plan, rig, directory, told)
        await host.put(Path(kill_tests.__file__).read_bytes(), f"{TESTS}/kill_tests.py")
        before = await host.snapshot()
        yield host
        kill_tests.assert_same(before, await host.snapshot(), "all tests have run")
        assert rig.kernel_log.splats == []
