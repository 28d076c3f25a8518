# SPDX-License-Identifier: GPL-2.0-or-later
"""``fsl-mc``: a guest has a DPAA2 container of its host as its root container, with the same objects, each driven.

The guest's objects are those in its /sys/bus/fsl-mc/devices, the host's those below the container there. With
``hot_add`` a dpbp is added on the host meanwhile, as restool does it: the guest's own driver has to find it, and to
lose it again, by an interrupt of the container.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from passthru.check.finding import Finding, Verdict, judged
from passthru.check.options import DeviceCheckOptions
from passthru.errors import MissingCapability, PassthruError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from passthru.check.context import Completed, Context
    from passthru.check.host_hand import HostHand

PROGRAM = Path(__file__).with_name("fsl_mc_on_host.py")
"""What adds an object, and removes it, on the host."""
DRIVERS = {"dprc": "fsl_mc_dprc", "dpbp": "fsl_mc_allocator", "dpcon": "fsl_mc_allocator", "dpmcp": "fsl_mc_allocator"}
"""The drivers of Linux's own bus, by the kind of object; those of other kinds are modules, which a guest may lack."""
_NAME = r"dp[a-z]+\.\d+"
_NO_BUS = 3
_SECONDS = 15
"""Until the guest has found an object or lost one; a hundredth of that is usual."""
_ERRORS = re.compile(rf"^<(\d+)>.*?\b((?:fsl[_-]mc|{_NAME}).*)$", re.MULTILINE)

ObjectName = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]


class Options(DeviceCheckOptions):
    """A check with ``use = "fsl-mc"``."""

    use: Literal["fsl-mc"]
    expect: tuple[ObjectName, ...] | None = None
    """The objects in the container ("dpni.0"); by default those that the host sees in it."""
    hot_add: bool = False
    """Whether an object is added on the host meanwhile, and removed again. The host's kernel needs restool's interface
    (FSL_MC_UAPI_SUPPORT)."""

    @property
    def brings(self) -> tuple[str, ...]:
        """The program for the host."""
        return (str(PROGRAM),) if self.hot_add else ()


@dataclass(frozen=True)
class _Object:
    """One of the guest's objects; ``above`` is the container that it is in, empty for the root."""

    above: str
    driver: str
    modalias: str


async def judge(context: Context, options: Options) -> Finding:
    """Compare what guest and host have on their buses; add an object and remove it; look for errors of the kernel."""
    root = context.the_device.address
    expected = options.expect if options.expect is not None else await _on_host(context, root)
    completed = await context.run(_LISTING, needs=["readlink", "cat"])
    if completed.status == _NO_BUS:
        return Finding(Verdict.FAILED, "the guest's kernel has no bus fsl-mc")
    seen = _parse(_said(completed, "the guest's look at its bus fsl-mc"))
    wrong = list(_complaints(seen, root, expected))
    facts: dict[str, object] = {
        "root": root,
        "objects": sorted(set(seen) - {root}),
        "drivers": {name: item.driver for name, item in seen.items()},
    }
    added = ""
    if options.hot_add and not wrong:
        added, interrupts, troubles = await _hot_added(context, root)
        wrong += troubles
        facts |= {"added": added, "interrupts": interrupts}
    log = await context.run("dmesg -r", needs=["dmesg"])
    wrong += [f'the guest\'s kernel said "{message}"' for message in _errors(_said(log, "dmesg"))]
    wrong += [f"the guest's kernel complained: {splat.title}" for splat in context.guest.kernel_log.splats]
    came = f"; {added} came and went again by {facts.get('interrupts')} interrupts" if added else ""
    return judged(
        wrong,
        passed=f"{root} is the guest's root container with all {len(expected)} objects{came}",
        failed=f"{root} is not in the guest as it is on the host",
        facts=facts,
    )


async def _on_host(context: Context, root: str) -> tuple[str, ...]:
    """The names of the objects in the container, as the host sees them."""
    directory = context.the_device.host.get("sysfs", f"/sys/bus/fsl-mc/devices/{root}")
    text = await _run(context.the_host, ["ls", directory], context)
    return tuple(name for name in text.split() if re.fullmatch(_NAME, name))


async def _run(host: HostHand, argv: list[str], context: Context) -> str:
    completed = await host.run(argv, env={}, deadline=context.deadline)
    text = completed.stdout.decode(errors="replace")
    if completed.status != 0:
        last = (text.strip().splitlines() or ["it said nothing"])[-1]
        raise MissingCapability(
            "commands to the host's Management Complex",
            f"{' '.join(argv)} ended on the host with status {completed.status}: {last}",
        )
    return text


def _complaints(seen: Mapping[str, _Object], root: str, expected: Iterable[str]) -> Iterator[str]:
    roots = [name for name, item in seen.items() if not item.above]
    if roots != [root]:
        yield f"expected {root} as the guest's one root container, got {', '.join(roots) or 'none'}"
        return
    wanted, got = set(expected), seen.keys() - {root}
    yield from (f"the guest has no {name}, which is in {root} on the host" for name in sorted(wanted - got))
    yield from (f"the guest has {name}, which is not in {root} on the host" for name in sorted(got - wanted))
    for name, item in seen.items():
        yield from _wrong_with(name, item, root)


def _wrong_with(name: str, item: _Object, root: str) -> Iterator[str]:
    kind = name.partition(".")[0]
    if name != root and item.above != root:
        yield f"{name} is in {item.above}, and not in {root}"
    if not item.modalias.endswith(f"d{kind}"):
        yield f'{name} is of the type "{item.modalias}"'
    if DRIVERS.get(kind, item.driver) != item.driver:
        yield f"{name} has the driver {item.driver or 'none'}, and not {DRIVERS[kind]}"


async def _hot_added(context: Context, root: str) -> tuple[str, int, list[str]]:
    """The name of an object that was added and removed, the interrupts that came, and what was wrong."""
    host = context.the_host
    program = ["python3", host.path_of(PROGRAM)]
    number = (await _run(host, [*program, "add", root], context)).strip()
    name = f"dpbp.{number}"
    troubles = []
    before = 0
    try:
        there, seen = await _until(context, f"[ -e {_BUS}/{name}/driver ]", root)
        if there:
            item = _parse(seen).get(name)
            troubles += list(_wrong_with(name, item, root)) if item else [f"{name} came and was gone at once"]
        else:
            troubles.append(f"{name}, which was added on the host, did not come to the guest in {_SECONDS} s")
        before = await _interrupts(context, root)
        if there and not before:
            troubles.append(f"{name} came, and no interrupt of {root}")
    finally:
        await _run(host, [*program, "remove", root, number], context)
    if there:
        gone, _ = await _until(context, f"[ ! -e {_BUS}/{name} ]", root)
        if not gone:
            troubles.append(f"{name}, which was removed on the host, did not leave the guest in {_SECONDS} s")
    return name, await _interrupts(context, root), troubles


async def _until(context: Context, condition: str, root: str) -> tuple[bool, str]:
    """Whether a condition of the guest's shell came true in time, and what was on the bus then."""
    limit = f"""\
uptime() {{ read -r now rest </proc/uptime; now=${{now%.*}}; }}
uptime; end=$((now + {_SECONDS}))
until {condition}; do [ $now -lt $end ] || exit 4; sleep 0.05; uptime; done
"""
    completed = await context.run(limit + _LISTING, needs=["sleep"])
    return completed.status == 0, completed.stdout.decode(errors="replace")


async def _interrupts(context: Context, root: str) -> int:
    """How many the container has had in the guest, on all processors."""
    text = _said(await context.run("cat /proc/interrupts", needs=["cat"]), "the guest's look at its interrupts")
    rows = [line.split() for line in text.splitlines() if line.rstrip().endswith(root)]
    return sum(int(word) for row in rows for word in row[1:] if word.isdecimal())


def _errors(ring: str) -> list[str]:
    """Messages about the bus and its objects that are errors or worse, each once."""
    found = (match for match in _ERRORS.finditer(ring) if int(match[1]) & 7 <= 3)
    return list(dict.fromkeys(match[2].strip() for match in found))


def _said(completed: Completed, what: str) -> str:
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip()
        raise PassthruError(f"{what} ended with status {completed.status}: {said or 'nothing was said'}")
    return completed.stdout.decode(errors="replace")


def _parse(text: str) -> dict[str, _Object]:
    """What the listing printed: NAME|ABOVE|DRIVER|MODALIAS."""
    rows = [line.split("|") for line in text.splitlines() if line]
    if any(len(row) != 4 for row in rows):
        raise PassthruError(f"the guest's look at its bus fsl-mc printed {text!r}, which makes no sense")
    found = {name: _Object(above, driver, modalias) for name, above, driver, modalias in rows}
    return {
        name: _Object(item.above if item.above in found else "", item.driver, item.modalias)
        for name, item in found.items()
    }


_BUS = "/sys/bus/fsl-mc/devices"
_LISTING = f"""\
cd {_BUS} || exit {_NO_BUS}
for name in *; do
  [ -e "$name" ] || continue
  place=$(readlink -f "$name"); above=${{place%/*}}
  driver=$(readlink "$name/driver"); modalias=$(cat "$name/modalias")
  echo "$name|${{above##*/}}|${{driver##*/}}|$modalias"
done
"""
