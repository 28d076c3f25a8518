# SPDX-License-Identifier: GPL-2.0-or-later
"""``hotplug``: the device is taken out of the running guest and put back, round after round.

A round: the guest is asked to let the device go and does (QEMU's DEVICE_DELETED); nothing of it is left in the guest;
it is plugged in again at the same place; the guest sees it, its driver binds and makes of it what it made before; the
checks in ``then`` pass on it; and the kernel complains of nothing meanwhile.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from passthru.check.again import judge_again
from passthru.check.finding import Finding, Verdict
from passthru.check.machine import Refused
from passthru.check.options import DeviceCheckOptions, Pattern
from passthru.check.presence import differences, left_behind, look, until
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from passthru.check.context import Context
    from passthru.check.presence import Presence

_TROUBLED = re.compile(r"\b(fail\w*|error|can't|cannot|unable|refus\w*|timed? ?out)\b", re.IGNORECASE)
_SHOWN = 8
"""Kernel messages that a finding shows."""


class Options(DeviceCheckOptions):
    """A check with ``use = "hotplug"``."""

    use: Literal["hotplug"]
    rounds: int = Field(default=10, ge=1, le=1000)
    """How often the device is taken out and put back."""
    then: tuple[str, ...] = ()
    """Checks of this scenario, by their ids, that are run on the device each time it is back."""
    driver: str | None = None
    """The guest's driver that must be bound to the device; by default the one that is bound in the beginning, and ""
    for a device that needs none."""
    patience: float = Field(default=5.0, gt=0)
    """Seconds that the guest has to let the device go, and to see it again (stretched where it is emulated)."""
    tolerate: tuple[Pattern, ...] = ()
    """Kernel messages about the device that tell of a failure and are none."""
    timeout: float = Field(default=120.0, gt=0)
    """Seconds that all rounds may take at most (stretched where the guest is emulated)."""


@dataclass
class _Round:
    """What is known of one round: how long its steps took in seconds, what was seen, and what is wrong."""

    seconds: dict[str, float] = field(default_factory=dict)
    seen: dict[str, object] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    out: bool = False

    def told(self) -> dict[str, object]:
        return {"seconds": {step: round(seconds, 3) for step, seconds in self.seconds.items()}, **self.seen}


async def judge(context: Context, options: Options) -> Finding:
    """Take the device out and put it back, until all rounds are done or one went wrong."""
    context.the_machine  # noqa: B018  (without one, nothing is asked of the guest)
    device = context.the_device
    before = await look(context, device.address)
    if before is None:
        return Finding(Verdict.FAILED, f"the guest sees no device at {device.address}, so none can be taken out")
    driver = before.driver if options.driver is None else options.driver
    wanted = "one is expected" if driver is None else f"wanted: {driver}"
    if driver is None or (driver and before.driver != driver):
        bound = f"its driver is {before.driver}" if before.driver else "no driver is bound to it"
        return Finding(
            Verdict.FAILED,
            f"{device.id} was not taken out: the guest sees it at {device.address}, but {bound} ({wanted})",
            facts={"before": before.told()},
        )
    rounds: list[_Round] = []
    while len(rounds) < options.rounds and not (rounds and (rounds[-1].wrong or rounds[-1].unjudged)):
        rounds.append(await _round(context, options, before, driver))
    return _finding(context, options, before, rounds)


def _finding(context: Context, options: Options, before: Presence, rounds: list[_Round]) -> Finding:
    device, last = context.the_device, rounds[-1]
    facts = {"before": before.told(), "rounds": [each.told() for each in rounds]}
    where = f"round {len(rounds)} of {options.rounds}"
    told = list(dict.fromkeys(sentence for each in rounds for sentence in each.skipped))
    if last.out:
        told.append(f"{device.id} is out of the guest since")
    wrong = last.wrong or last.unjudged
    if wrong:
        verdict = Verdict.FAILED if last.wrong else Verdict.ERROR
        return Finding(verdict, f"{where}: {wrong[0]}", (*wrong[1:], *told), facts)
    if options.then and all(set(_verdicts(each)) == {"skipped"} for each in rounds):
        return Finding(
            Verdict.SKIPPED, f"no check could use the device when it was back: {told[0]}", tuple(told), facts
        )
    seen = (
        ", ".join(name for _, name in before.parts if not name.startswith(device.address))
        or before.driver
        or before.identity
    )
    times = "once" if len(rounds) == 1 else f"{len(rounds)} times"
    after = f", then {' and '.join(options.then)} passed" if options.then and not told else ""
    summary = f"the guest let {device.id} go and took it back {times} ({seen}){after}"
    return Finding(Verdict.PASSED, summary, tuple(told), facts)


def _verdicts(each: _Round) -> list[str]:
    verdicts = each.seen.get("then")
    return list(map(str, verdicts.values())) if isinstance(verdicts, dict) else []


async def _round(context: Context, options: Options, before: Presence, driver: str) -> _Round:
    this = _Round()
    log = context.guest.kernel_log
    lines, splats = len(log.lines), len(log.splats)
    await _steps(context, options, before, driver, this)
    this.wrong += [f"the guest's kernel complained: {splat.title}" for splat in log.splats[splats:]]
    said = log.lines[lines:]
    this.wrong += list(_failures_told(said, context.the_device.address, options.tolerate))
    if this.wrong:
        shown = said[-_SHOWN:]
        this.wrong.append("the guest's kernel said meanwhile: " + ("; ".join(shown) if shown else "nothing"))
    return this


async def _steps(context: Context, options: Options, before: Presence, driver: str, this: _Round) -> None:
    device, machine = context.the_device, context.the_machine
    now = await look(context, device.address) or before  # this round's interrupts and names, to look for afterwards
    began = time.monotonic()
    try:
        await machine.remove(device.id, context.deadline.narrowed(options.patience))
    except DeadlineExceeded as error:
        this.wrong.append(f"the guest did not let {device.id} go in {error.seconds:.1f} s")
        return
    except Refused as error:
        this.wrong.append(f"{device.id} cannot be taken out: {error}")
        return
    this.out = True
    this.seconds["removed"] = time.monotonic() - began
    left = await until(lambda: left_behind(context, device.address, now), context.deadline.narrowed(options.patience))
    if left:
        this.wrong.append(f"{device.id} is out, and the guest still has {'; '.join(left)}")
        return
    began = time.monotonic()
    try:
        await machine.add(device.id, context.deadline.narrowed(options.patience))
    except (Refused, DeadlineExceeded) as error:
        this.wrong.append(f"{device.id} cannot be put back: {error}")
        return
    this.out = False
    this.seconds["added"] = time.monotonic() - began

    async def missing() -> list[str]:
        nonlocal now
        seen = await look(context, device.address)
        now = seen or now
        return differences(before, seen, device.address, driver)

    this.wrong += await until(missing, context.deadline.narrowed(options.patience))
    this.seconds["bound"] = time.monotonic() - began
    this.seen["seen"] = now.told()
    if this.wrong:
        return
    began = time.monotonic()
    again = await judge_again(context, options.then)
    this.wrong, this.unjudged, this.skipped = again.failed(), again.unjudged(), again.skipped()
    if options.then:
        this.seconds["then"] = time.monotonic() - began
        this.seen["then"] = again.told()


def _failures_told(lines: Sequence[str], address: str, tolerated: tuple[str, ...]) -> Iterator[str]:
    for line in lines:
        if address in line and _TROUBLED.search(line) and not any(re.search(each, line) for each in tolerated):
            yield f'the guest\'s kernel said "{line}"'
