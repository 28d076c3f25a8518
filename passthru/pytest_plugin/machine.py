# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test is given: a guest that is up, its QEMU, its devices, and passthru's checks."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check.finding import Finding, Verdict
from passthru.errors import PassthruError, UserMistake
from passthru.guest.guest import Guest
from passthru.guest.shell import quoted
from passthru.run.assembly import assigned_devices
from passthru.run.judging import Judging

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from passthru.check.context import AssignedDevice
    from passthru.check.options import CheckOptions
    from passthru.errors import GuestTrouble
    from passthru.events import Tell
    from passthru.guest.commands import Completed
    from passthru.guest.splat import Splat
    from passthru.pytest_plugin.record import Record
    from passthru.qemu.qmp import Qmp
    from passthru.run.outcome import Judgement
    from passthru.run.plan import Plan
    from passthru.run.stage import Stage
    from passthru.scenario.models import Scenario


class CheckFailed(AssertionError):
    """A check found something wrong; ``finding`` is what."""

    def __init__(self, use: str, finding: Finding) -> None:
        more = [detail for detail in finding.details if detail not in finding.summary]
        details = "".join(f"\n    {line}" for detail in more for line in detail.splitlines())
        super().__init__(f"the check {use} failed: {finding.summary}{details}")
        self.finding = finding


class CheckNotJudged(PassthruError):
    """A check could not judge; ``finding`` says why."""

    def __init__(self, use: str, finding: Finding) -> None:
        super().__init__(f"the check {use} could not judge: {finding.summary}")
        self.finding = finding


class Machine:
    """A guest that is up, until the fixture that booted it ends."""

    def __init__(
        self,
        plan: Plan,
        stage: Stage,
        record: Record,
        tell: Tell,
        *,
        loop_scope: str,
        no_skip: bool,
        touched: Callable[[], None],
    ) -> None:
        self.plan = plan
        """The QEMU, kernel, image and accelerator in use."""
        self.scenario: Scenario = plan.scenario
        self.directory: Path = record.directory
        """The run directory."""
        self.devices: Mapping[str, AssignedDevice] = assigned_devices(plan, stage.up, plan.tree)
        """The devices as the guest sees them, by id: address, model, options."""
        self.record = record
        self.judgements: list[Judgement] = []
        self.loop = asyncio.get_running_loop()
        self.open = True
        self.told = 0
        """How many of the splats tests were told of."""
        self.settled_at = -1
        """The record's number of commands when the kernel's messages were last all read."""
        self._loop_scope = loop_scope
        self._no_skip = no_skip
        self._tell = tell
        self._stage = stage
        self._touched = touched
        self._guest = _WatchedGuest(stage.guest, self)

    def __repr__(self) -> str:
        return f"<Machine {self.record.name}>"

    @property
    def guest(self) -> Guest:
        """The guest: run, succeed, fail, wait_until_succeeds, upload, download, wait_for_line, kernel_log, ..."""
        self.mind_loop()
        return self._guest

    @property
    def qmp(self) -> Qmp:
        """The session with QEMU: execute, wait_for, events, seen."""
        self.mind_loop()
        return self._stage.qmp

    @property
    def stage(self) -> Stage:
        """The processes: ``stage.qemu``, and ``stage.companions``, the device servers by the ids of their devices."""
        self.mind_loop()
        return self._stage

    @property
    def splats(self) -> Sequence[Splat]:
        """Everything that the guest's kernel complained about so far, known quirks left out."""
        return self._stage.guest.kernel_log.splats

    @property
    def trouble(self) -> GuestTrouble | None:
        """Why the guest cannot go on, if it cannot."""
        return self._stage.guest.troubles.first

    async def check(self, use: str | CheckOptions, **options: Any) -> Finding:
        """Run one of passthru's checks, which has to pass: ``await machine.check("serial-loopback", bytes=15)``.

        ``use`` is a kind of check, with its options as a scenario has them, or a whole one of the scenario:
        ``machine.scenario.check["loopback"]``. The device may be left out where there is only one. Raises CheckFailed
        (an AssertionError), CheckNotJudged; skips the test where the check lacks a capability.
        """
        finding = await self.judge(use, **options)
        name = use if isinstance(use, str) else use.use
        match finding.verdict:
            case Verdict.PASSED:
                return finding
            case Verdict.FAILED:
                raise CheckFailed(name, finding)
            case Verdict.SKIPPED:
                reason = f"the check {name} was skipped: {finding.summary}"
                if self._no_skip:
                    pytest.fail(f"{reason} (--passthru-no-skip)", pytrace=False)
                pytest.skip(reason)
            case _:
                raise CheckNotJudged(name, finding)

    async def judge(self, use: str | CheckOptions, **options: Any) -> Finding:
        """What a check finds, whatever it is; see ``check``. Raises UserMistake for wrong options."""
        from passthru.pytest_plugin.in_code import check_options

        self.mind_loop()
        spec = check_options(use, options, self.scenario) if isinstance(use, str) else use
        judging = Judging(
            scenario=self.scenario.model_copy(update={"check": {spec.use: spec}}),
            guest=self._guest,
            devices=self.devices,
            deadline=self._guest.deadline,
            tell=self._tell,
            judgements=self.judgements,
            machine=self.stage.machine,
            missing=self.plan.image.missing,
            host=self.stage.programs,
            outside=self.stage.up.lines,
        )
        await judging.all()
        return self.judgements[-1].finding

    async def settle(self, mark: str) -> None:
        """Wait until all that the guest's kernel has said so far has been read; ``mark`` is left in its log.

        A guest that is stopped or dead says no more. Raises GuestTrouble, DeadlineExceeded.
        """
        guest = self._stage.guest
        if guest.troubles.first is None and (await self._stage.qmp.execute("query-status"))["status"] == "running":
            since = len(guest.kernel_log.lines)
            text = f"passthru: {mark}"
            # The kernel writes its messages in their order. An ordinary one (6), unless the console shows only worse.
            level = "read -r level rest </proc/sys/kernel/printk; level=$((level > 6 ? 6 : level - 1))"
            await guest.run(f'{level}; echo "<$level>"{quoted(text)} >/dev/kmsg', timeout=20)
            await guest.wait_for_line(f"^{re.escape(text)}$", timeout=20, since=since)
        guest.kernel_log.settle()

    def mind_loop(self) -> None:
        """The running test uses this; raise UserMistake where the running event loop is not the guest's own."""
        self.touch()
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        if running is not self.loop:
            raise UserMistake(wrong_loop(f"the guest {self.record.name} lives", self._loop_scope))

    def touch(self) -> None:
        """The running test uses this."""
        self._touched()


class _WatchedGuest(Guest):
    """A guest as tests see it: the same one, whose commands are noted and whose event loop is minded."""

    def __init__(self, guest: Guest, machine: Machine) -> None:
        self.__dict__ = guest.__dict__  # not a copy: one guest, two views
        self._machine = machine

    async def run(self, command: str, timeout: float = 30.0) -> Completed:
        self._machine.mind_loop()
        noted = self._machine.record.command(command)
        try:
            completed = await super().run(command, timeout)
        except BaseException as error:
            noted.broke(error)
            raise
        noted.completed(completed)
        return completed


def wrong_loop(what: str, loop_scope: str) -> str:
    """What to do about two event loops."""
    return (
        f"{what} on the event loop of the {loop_scope}, and this code runs on another one: mark the test with "
        f'@pytest.mark.asyncio(loop_scope="{loop_scope}"), and an async fixture with '
        f'@pytest_asyncio.fixture(loop_scope="{loop_scope}")'
    )
