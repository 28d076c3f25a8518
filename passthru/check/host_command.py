# SPDX-License-Identifier: GPL-2.0-or-later
"""``host-command``: a test program of the user's, run on the host that owns the device, passes by its own verdict.

The verdict is its exit status, or TAP or KTAP in what it prints: the kernel's selftests print that, and end with the
status 4 where they skip (tools/testing/selftests/kselftest.h).
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from passthru.check.finding import Finding, Verdict
from passthru.check.machine import Refused
from passthru.check.options import CheckOptions
from passthru.check.presence import differences, look, until
from passthru.check.program_verdict import Format, judged_by
from passthru.errors import DeadlineExceeded, MissingCapability

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from typing import Self

    from passthru.check.context import Context

_KEPT = 64 << 10
"""Characters of the output that are kept among the facts, the last ones; all of it is in the run directory."""

_WORDS = re.compile(r"\{(bus|address|uuid|group|vfio_group|cdev|sysfs|driver|files\.\d+)\}")
# QEMU closes a device's files only a moment after it has told that the device is gone.
_LET_GO = """\
held() {
  for open in /proc/[0-9]*/fd/*; do
    there=$(readlink "$open") || continue
    for file; do [ "$there" != "$file" ] || return 0; done
  done
  return 1
}
while held "$@"; do sleep 0.1; done
"""
ENVIRONMENT = {
    "bus": "PASSTHRU_BUS",
    "address": "PASSTHRU_DEVICE_ADDRESS",
    "uuid": "PASSTHRU_DEVICE_UUID",
    "group": "PASSTHRU_IOMMU_GROUP",
    "vfio_group": "PASSTHRU_VFIO_GROUP",
    "cdev": "PASSTHRU_VFIO_CDEV",
    "sysfs": "PASSTHRU_SYSFS",
    "driver": "PASSTHRU_DRIVER",
}
"""The variable for each of ``host_hand.FACTS``; what the host does not know of the device is not set."""


def _program(path: str) -> str:
    if not Path(path).is_file():
        raise ValueError(f"names {path}, which is no file; build it, or correct its path")
    if not os.access(path, os.X_OK):
        raise ValueError(f"names {path}, which is not executable; chmod +x it")
    return path


def _there(path: str) -> str:
    if not Path(path).exists():
        raise ValueError(f"names {path}, which is not there; build it, or correct its path")
    return path


class Options(CheckOptions):
    """A check with ``use = "host-command"``."""

    without_guest: ClassVar[bool] = True
    use: Literal["host-command"]
    program: Annotated[str, Field(min_length=1), AfterValidator(_program)]
    """The program, a file of this machine, relative to the scenario's; it is brought to the host."""
    files: tuple[Annotated[str, Field(min_length=1), AfterValidator(_there)], ...] = ()
    """Further files and directories that are brought there; ``{files.0}`` is where the first of them is."""
    arguments: tuple[str, ...] = ()
    """Its arguments; ``{address}``, ``{uuid}``, ``{group}``, ``{vfio_group}``, ``{cdev}`` and ``{sysfs}`` are the
    device's on the host."""
    environment: dict[str, str] = {}
    """Variables of its environment, beside PASSTHRU_DEVICE_ADDRESS and its like; the same words are replaced."""
    format: Format = "auto"
    """Where its verdict is: in its exit status alone, in TAP or KTAP and the status; ``auto`` goes by its output."""
    skips: tuple[Annotated[int, Field(ge=1, le=255)], ...] = (4,)
    """Exit statuses by which it tells that it could not test anything."""
    unplugged: bool = False
    """Whether the device is taken out of the guest meanwhile: the kernel's VFIO gives a group to one user at a time."""
    patience: float = Field(default=5.0, gt=0)
    """Seconds that the guest has to let the device go (stretched where it is emulated)."""

    @model_validator(mode="after")
    def _answerable(self) -> Self:
        if self.unplugged and self.device is None:
            raise ValueError('is to have the device unplugged and names no "device"')
        for word in _asked(self):
            _, files, number = word.partition("files.")
            if files and int(number) >= len(self.files):
                raise ValueError(f"asks for {{{word}}}, where files has {len(self.files)} (counted from 0)")
            if not files and self.device is None:
                raise ValueError(f'asks for {{{word}}} and names no "device"')
        return self

    @property
    def brings(self) -> tuple[str, ...]:
        """The program and its files."""
        return (self.program, *self.files)


async def judge(context: Context, options: Options) -> Finding:
    """Run the program on the host, and take its word."""
    host = context.the_host
    known = host.facts(context.device.id) if context.device else {}
    for word in _asked(options):
        if context.device and not word.startswith("files.") and word not in known:
            raise MissingCapability(
                f"{word} of {context.device.id} on the host",
                f"the host knows no {word} of {context.device.id}, which the program is to be given (it knows"
                f" {', '.join(known) or 'nothing'}); a cdev needs a kernel with iommufd, a uuid an mdev",
            )
    words = {**known, **{f"files.{number}": host.path_of(Path(each)) for number, each in enumerate(options.files)}}
    command = [host.path_of(Path(options.program)), *(_filled(word, words) for word in options.arguments)]
    environment = {ENVIRONMENT[fact]: value for fact, value in known.items() if fact in ENVIRONMENT}
    if context.device:
        environment["PASSTHRU_DEVICE"] = context.device.id
    environment |= {name: _filled(value, words) for name, value in options.environment.items()}
    if not options.unplugged:
        return await _judged(context, options, command, environment)
    return await _unplugged(context, options, lambda: _judged(context, options, command, environment))


async def _unplugged(context: Context, options: Options, judging: Callable[[], Awaitable[Finding]]) -> Finding:
    """Judge while the guest does not have the device; it has it back afterwards, as it was."""
    device, machine, host = context.the_device, context.the_machine, context.the_host
    before = await look(context, device.address)
    try:
        await machine.remove(device.id, context.deadline.narrowed(options.patience))
    except (Refused, DeadlineExceeded) as error:
        return Finding(Verdict.ERROR, f"{device.id} could not be taken out of the guest for it: {error}")
    try:
        known = host.facts(device.id)
        held = [known[fact] for fact in ("vfio_group", "cdev") if fact in known]
        await host.run(["/bin/sh", "-c", _LET_GO, "sh", *held], env={}, deadline=context.deadline)
        finding = await judging()
    finally:
        await machine.add(device.id, context.deadline)
    if before is None:
        return finding

    async def missing() -> list[str]:
        return differences(before, await look(context, device.address), device.address, before.driver or "")

    wrong = await until(missing, context.deadline.narrowed(options.patience))
    if wrong and finding.verdict is Verdict.PASSED:
        return replace(finding, verdict=Verdict.FAILED, summary=f"after it, {wrong[0]}", details=(*wrong[1:],))
    return replace(finding, details=(*finding.details, *(f"after it, {sentence}" for sentence in wrong)))


async def _judged(context: Context, options: Options, command: list[str], environment: Mapping[str, str]) -> Finding:
    name = Path(options.program).name
    # A tenth is left to kill it, and to say that it did not end.
    limit = context.deadline.narrowed(context.deadline.remaining / context.deadline.scale * 0.9)
    try:
        completed = await context.the_host.run(command, env=environment, deadline=limit)
    except DeadlineExceeded as error:
        return Finding(Verdict.FAILED, f"{name} did not end within {error.seconds:.1f} s on the host", error.last_lines)
    output = completed.stdout.decode(errors="replace")
    facts = {
        "command": command,
        "environment": dict(environment),
        "status": completed.status,
        "output": output[-_KEPT:].splitlines(),
    }
    found = judged_by(options.format, name, output, completed.status, options.skips)
    return replace(found, facts={**found.facts, **facts})


def _asked(options: Options) -> Iterator[str]:
    """The words that are asked for."""
    for text in (*options.arguments, *options.environment.values()):
        yield from _WORDS.findall(text)


def _filled(text: str, words: Mapping[str, str]) -> str:
    return _WORDS.sub(lambda found: words.get(found[1], found[0]), text)
