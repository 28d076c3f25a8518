# SPDX-License-Identifier: GPL-2.0-or-later
"""A device that is judged by the stand-in for the suite, on a host with a real worker."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from passthru.deadline import Deadline
from passthru.events import Note
from passthru.guest.kernel_log import KernelLog
from passthru.guest.trouble import Troubles
from passthru.host import ChildSpec, open_local_host
from passthru.run.conform.complaints import Complaints
from passthru.run.conform.go import Go, SuiteOptions
from passthru.run.conform.judging import Served, judge_device
from passthru.run.conform.kept import KeptServer
from passthru.run.conform.verdicts import Verdicts
from passthru.run.events import CheckStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from passthru.check.finding import Verdict
    from passthru.events import Event
    from passthru.host import Host
    from passthru.run.outcome import Judgement

SUITE = Path(__file__).with_name("suite.py")
KERNEL = {"transport": "kernel", "name": "0000:00:05.0", "group": "/dev/vfio/1", "container": "type1"}
SERVED = {"transport": "vfio-user", "socket": "{socket:device}"}
SECONDS = 20.0


class HostWithSuite:
    """A host on which the suite is the stand-in, with a plan for each go; the last one is for those after it too."""

    def __init__(self, host: Host, plans: list[dict[str, Any]]) -> None:
        self._host = host
        self._plans = plans
        self.arguments: list[tuple[str, ...]] = []

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        assert module == "passthru.vfio.conform"
        plan = self._plans[min(len(self.arguments), len(self._plans) - 1)]
        self.arguments.append(arguments)
        return (sys.executable, "-I", "-S", str(SUITE), json.dumps(plan), *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._host, name)


@dataclass
class Bench:
    """Judges by plans, and keeps what came of it."""

    host: Host
    directory: Path
    judgements: list[Judgement] = field(default_factory=list)
    told: list[Event] = field(default_factory=list)
    arguments: list[tuple[str, ...]] = field(default_factory=list)
    log: KernelLog = field(default_factory=KernelLog)
    options: SuiteOptions = field(default_factory=SuiteOptions)
    target: dict[str, str] = field(default_factory=lambda: dict(SERVED))
    server: tuple[str, ...] = ()
    """The command of the device's server, if it is to have one."""
    when: dict[str, Callable[[], None]] = field(default_factory=dict)
    """What happens once a test has begun."""

    def __post_init__(self) -> None:
        self.troubles = Troubles()

    async def judge(self, *plans: dict[str, Any], subject: tuple[str, ...] = ("device", "host-kernel")) -> None:
        """Judge a device to the end; the suite's goes follow ``plans``."""
        host = HostWithSuite(self.host, list(plans))
        self.arguments = host.arguments
        go = Go(
            cast("Host", host),
            "conform-device",
            self.target,
            self.options,
            self.directory / "conform-device.log",
            guard=self.troubles.guard,
        )
        complaints = Complaints(self.log)
        verdicts = Verdicts("device", "", self.judgements.append, self._told, complaints)

        @contextlib.asynccontextmanager
        async def serve(number: int) -> AsyncIterator[Served]:
            if not self.server:
                yield Served(go)
                return
            output = self.directory / f"server.{number}.log"
            server = await self.host.start(ChildSpec(f"server.{number}", self.server, output=output))
            self.told.append(Note(f"server {number}"))
            yield Served(go, KeptServer(server), output)
            await server.kill()

        async with Deadline.after(SECONDS).waiting_for("the device to be judged"):
            await judge_device(serve, verdicts, complaints, subject)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """What each test came to, in the order in which they were judged."""
        return {judgement.check: judgement.finding.verdict for judgement in self.judgements}

    def summary(self, test: str) -> str:
        """What was said of a test."""
        (found,) = [judgement.finding.summary for judgement in self.judgements if judgement.check == test]
        return found

    def _told(self, event: Event) -> None:
        self.told.append(event)
        if isinstance(event, CheckStarted) and event.check in self.when:
            self.when[event.check]()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as scratch:
        monkeypatch.setenv("TMPDIR", scratch)
        async with open_local_host(deadline=Deadline.after(3 * SECONDS)) as host:
            yield Bench(host, tmp_path)
