# SPDX-License-Identifier: GPL-2.0-or-later
"""``reboot``: the guest reboots with its devices attached, has them again as before, and other checks pass again.

That it is another boot is known by the kernel's boot id, that the devices are back by sysfs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from passthru.check.again import THEMSELVES, Again, judge_again
from passthru.check.finding import Finding, Verdict
from passthru.check.machine import How, Refused
from passthru.check.options import CheckOptions
from passthru.check.presence import differences, look, until
from passthru.errors import DeadlineExceeded, PassthruError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.check.context import AssignedDevice, Completed, Context, Guest, KernelLog, Splat
    from passthru.check.presence import Presence

_FIRST_WORDS = "Linux version "
_SHOWN = 8
_SETTLING = 1.0
"""Seconds, before scaling, that drivers may take beyond the start of the guest's shell."""


class Options(CheckOptions):
    """A check with ``use = "reboot"``; without ``device`` it looks at all devices of the scenario."""

    use: Literal["reboot"]
    how: How = "guest"
    """``guest``: the guest's kernel reboots; ``reset``: the machine is reset, which the guest does not see coming."""
    rounds: int = Field(default=1, ge=1, le=100)
    """How often."""
    then: tuple[str, ...] | None = None
    """Checks of this scenario, by their ids, that are run after each reboot; by default all that passed before."""
    driver: str | None = None
    """The guest's driver that must be bound to each device afterwards; by default the one that is bound before, and ""
    for a device whose driver nobody binds at boot."""
    patience: float = Field(default=30.0, gt=0)
    """Seconds until the guest is up again (stretched where it is emulated)."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that all of it may take at most (stretched where the guest is emulated)."""


@dataclass
class _Round:
    seconds: float = 0.0
    wrong: tuple[str, ...] = ()
    again: Again = field(default_factory=lambda: Again({}))


async def judge(context: Context, options: Options) -> Finding:
    """Reboot the guest and judge it again, until all rounds are done or one went wrong."""
    context.the_machine  # noqa: B018  (without one, nothing is asked of the guest)
    devices = [context.the_device] if options.device else list(context.devices.values())
    before = {device.address: await look(context, device.address) for device in devices}
    rounds: list[_Round] = []
    while len(rounds) < options.rounds and not (rounds and (rounds[-1].wrong or rounds[-1].again.unjudged())):
        rounds.append(await _round(context, options, devices, before))
    last = rounds[-1]
    facts = {
        "how": options.how,
        "rounds": [{"seconds": round(each.seconds, 3), "then": each.again.told()} for each in rounds],
    }
    told = tuple(dict.fromkeys(sentence for each in rounds for sentence in each.again.skipped()))
    wrong = last.wrong or tuple(last.again.unjudged())
    if wrong:
        verdict = Verdict.FAILED if last.wrong else Verdict.ERROR
        where = "" if options.rounds == 1 else f"reboot {len(rounds)} of {options.rounds}: "
        return Finding(verdict, f"{where}{wrong[0]}", (*wrong[1:], *told), facts)
    times = "" if len(rounds) == 1 else f" {len(rounds)} times"
    names = " and ".join(device.id for device in devices) or "no device"
    passed = [check for check, found in last.again.findings.items() if found.verdict is Verdict.PASSED]
    after = f", then {', '.join(passed)} passed again" if passed else ""
    by = "rebooted" if options.how == "guest" else "was reset"
    return Finding(Verdict.PASSED, f"the guest {by}{times} with {names} attached{after}", told, facts)


async def _round(
    context: Context,
    options: Options,
    devices: Sequence[AssignedDevice],
    before: Mapping[str, Presence | None],
) -> _Round:
    this = _Round()
    log = context.guest.kernel_log
    lines, splats = len(log.lines), len(log.splats)
    began = time.monotonic()
    boot = await _boot_id(context)
    try:
        await context.the_machine.reboot(options.how, context.deadline.narrowed(options.patience))
    except DeadlineExceeded as error:
        sentence = f"the guest did not reboot: {error.seconds:.1f} s went by without {error.awaited}"
        this.wrong = (sentence, _said(log.lines[lines:]))
        return this
    except Refused as error:
        this.wrong = (f"the guest could not be rebooted: {error}",)
        return this
    this.seconds = time.monotonic() - began
    if await _boot_id(context) == boot:
        this.wrong = (f"the guest did not reboot: it answers with the boot id of before, {boot}",)
        return this
    wrong = []
    for device in devices:
        wrong += await _missing(context, options, device, before[device.address])
    if not wrong:
        since = _first_line(log, lines)
        this_boot = replace(context, guest=_ThisBoot(context.guest, since, splats))
        this.again = await judge_again(this_boot, _then(context, options))
        wrong = [f"after the reboot, {sentence}" for sentence in this.again.failed()]
    wrong += [f"the guest's kernel complained: {splat.title}" for splat in log.splats[splats:]]
    this.wrong = (*wrong, _said(log.lines[lines:])) if wrong else ()
    return this


async def _missing(context: Context, options: Options, device: AssignedDevice, before: Presence | None) -> list[str]:
    if before is None:
        return [f"the guest saw no {device.id} at {device.address} before it rebooted"]

    driver = (before.driver or "") if options.driver is None else options.driver

    async def look_again() -> list[str]:
        now = await look(context, device.address)
        return [f"after the reboot, {text}" for text in differences(before, now, device.address, driver)]

    return await until(look_again, context.deadline.narrowed(_SETTLING))


def _then(context: Context, options: Options) -> Sequence[str]:
    if options.then is not None:
        return options.then
    return [check for check, spec in context.checks.items() if check in context.passed and spec.use not in THEMSELVES]


async def _boot_id(context: Context) -> str:
    completed = await context.run("cat /proc/sys/kernel/random/boot_id")
    boot = completed.stdout.decode(errors="replace").strip()
    if completed.status != 0 or not boot:
        raise PassthruError("the guest's kernel tells no boot id (/proc/sys/kernel/random/boot_id)")
    return boot


def _first_line(log: KernelLog, since: int) -> int:
    """The line with which the last boot begins; where a quiet one shows none, those from ``since`` on are its own."""
    for number in range(len(log.lines) - 1, since - 1, -1):
        if _FIRST_WORDS in log.lines[number]:
            return number
    return since


def _said(lines: Sequence[str]) -> str:
    return "the guest's kernel said last: " + ("; ".join(lines[-_SHOWN:]) if lines else "nothing")


@dataclass(frozen=True)
class _Log:
    lines: Sequence[str]
    splats: Sequence[Splat]
    quirks: Sequence[Splat]


@dataclass(frozen=True)
class _ThisBoot:
    """The guest as one that has only booted once: what its kernel said before is not taken for said again."""

    guest: Guest
    lines: int
    splats: int

    @property
    def kernel_log(self) -> _Log:
        log = self.guest.kernel_log
        return _Log(log.lines[self.lines :], log.splats[self.splats :], log.quirks)

    async def run(self, command: str, timeout: float = 30.0) -> Completed:
        return await self.guest.run(command, timeout=timeout)
