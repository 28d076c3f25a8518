# SPDX-License-Identifier: GPL-2.0-or-later
"""passthru, installed inside a rig that is its local host."""

from __future__ import annotations

import asyncio
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.rig.brought import LOCAL
from tests.e2e.rig.emulated import SCENARIO, TESTS

if TYPE_CHECKING:
    from passthru.host import Child
    from passthru.run.host_hand import Ended
    from tests.e2e.rig.brought import Brought
    from tests.e2e.rig.emulated import EmulatedHost

_HERE = f"{TESTS}/e2e/rig"
_UP = f"{_HERE}/up"
RUN = ("run", f"{_HERE}/{SCENARIO.name}", *(word for text in LOCAL for word in ("--set", text)))
"""The arguments that run the shared scenario on the local host."""
HELD = ("run", f"{_HERE}/held.toml")
"""Those of a run that stays where its guest is up."""

HOME = "/opt/passthru"
CACHE = "/run/cache"
RUNS = "/run/runs"
RUN_SECONDS = 120.0

# The cache is the one that was brought in, under a directory that can be written to. The scenario stands where what it
# includes is found, and the rig's QEMU is the one on PATH.
_SET_UP = f"""\
set -e
mkdir {CACHE} {CACHE}.new {CACHE}.work
mount -t overlay -o lowerdir="$1",upperdir={CACHE}.new,workdir={CACHE}.work cache {CACHE}
ln -s {HOME}/passthru/_data/guests /run/guests
mkfifo {_UP}
chmod +x {_HERE}/hold.sh
cat >/usr/bin/qemu-system-x86_64
chmod +x /usr/bin/qemu-system-x86_64
"""


@dataclass(frozen=True)
class Local:
    """The command ``passthru`` there."""

    rig: EmulatedHost
    packages: str

    @property
    def _env(self) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{HOME}:{self.packages}",
            "PASSTHRU_CACHE": CACHE,
            "PASSTHRU_RUNS": RUNS,
            "HOME": "/root",
        }

    async def __call__(self, *arguments: str) -> Ended:
        """Run it to its end."""
        return await self.rig.run(*_PASSTHRU, *arguments, env=self._env, seconds=RUN_SECONDS)

    async def succeed(self, *arguments: str) -> str:
        """Run it, which must succeed; returns what it printed."""
        ended = await self(*arguments)
        assert ended.status == 0, ended.stdout.decode()
        return ended.stdout.decode()

    async def start(self, *arguments: str) -> Child:
        """Start it."""
        return await self.rig.start("passthru", *_PASSTHRU, *arguments, env=self._env)

    async def held(self) -> Child:
        """A run that has got to where its guest is up, with its devices, and stays there."""
        run = await self.start(*HELD)
        up = asyncio.ensure_future(self.rig.succeed("cat", _UP, seconds=RUN_SECONDS))
        await asyncio.wait((up, run.exited), return_when=asyncio.FIRST_COMPLETED)
        if run.exited.done():
            up.cancel()
            raise AssertionError(f"the run ended before its guest was up: {self.rig.output(run)}")
        assert await up == "up\n"
        return run

    async def forget(self) -> None:
        """Let none of the runs before be the last one."""
        await self.rig.succeed("rm", "-f", f"{RUNS}/latest")

    async def until(self, kind: str) -> None:
        """Wait until the last run has told an event of this kind."""
        script = f'until grep -qs \'"kind": "{kind}"\' {RUNS}/latest/events.jsonl; do sleep 0.05; done'
        await self.rig.succeed("timeout", str(RUN_SECONDS), "sh", "-c", script, seconds=RUN_SECONDS)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """The events of this kind of the last run."""
        lines = (await self.rig.succeed("cat", f"{RUNS}/latest/events.jsonl")).splitlines()
        return [event for event in map(json.loads, lines) if event["kind"] == kind]


_PASSTHRU = ("python3", "-m", "passthru")


async def install(rig: EmulatedHost, brought: Brought, package: bytes) -> Local:
    """Install ``package`` (see ``brought.installed``) in the rig."""
    await rig.unpack(package, HOME)
    for name in (SCENARIO.name, "held.toml", "hold.sh"):
        await rig.put(Path(__file__).with_name(name).read_bytes(), f"{_HERE}/{name}")
    qemu = rig.plan.qemu
    words = [f"{name}={shlex.quote(value)}" for name, value in qemu.env.items()]
    script = f'#!/bin/sh\n{" ".join(words)} exec {shlex.join(qemu.command)} "$@"\n'
    await rig.put(script.encode(), f"{TESTS}/qemu")
    await rig.succeed("sh", "-c", f"{{ {_SET_UP} }} <{TESTS}/qemu", "sh", rig.path_of(brought.cache))
    return Local(rig, rig.path_of(brought.packages))
