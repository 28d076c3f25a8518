# SPDX-License-Identifier: GPL-2.0-or-later
"""A PCI device as the guest has it: who it is, its driver, and what the driver made of it; and what stays behind."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import PassthruError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from passthru.check.context import Context
    from passthru.deadline import Deadline

_ABSENT = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.2


@dataclass(frozen=True)
class Presence:
    """A device in the guest's sysfs.

    ``identity`` is vendor, device and class. ``parts`` are what its driver made of it, each a subsystem and a name:
    ("tty", "ttyS1"). ``messages`` are the numbers of its MSI and MSI-X interrupts.
    """

    identity: str
    driver: str | None = None
    parts: tuple[tuple[str, str], ...] = ()
    messages: tuple[int, ...] = ()

    @property
    def kinds(self) -> Counter[str]:
        """How many parts there are of each subsystem; their names may be others the next time."""
        return Counter(subsystem for subsystem, _ in self.parts)

    def told(self) -> dict[str, object]:
        """This as JSON values, for facts."""
        return {"identity": self.identity, "driver": self.driver, "parts": [" ".join(part) for part in self.parts]}


async def look(context: Context, address: str) -> Presence | None:
    """The device at a PCI address of the guest; None where there is none."""
    script = f"""\
cd /sys/bus/pci/devices/{address} 2>/dev/null || exit {_ABSENT}
read -r vendor <vendor && read -r device <device && read -r class <class || exit {_ABSENT}
echo "identity $vendor:$device class $class"
if driver=$(readlink driver); then echo "driver ${{driver##*/}}"; fi
for irq in msi_irqs/*; do [ ! -e "$irq" ] || echo "message ${{irq##*/}}"; done
find . -mindepth 2 -name subsystem 2>/dev/null | while read -r link; do
  subsystem=$(readlink "$link") && part=${{link%/subsystem}} && echo "part ${{subsystem##*/}} ${{part##*/}}"
done
exit 0"""
    completed = await context.run(script, needs=["find", "readlink"])
    if completed.status == _ABSENT:
        return None
    return parse(completed.stdout.decode(errors="replace"))


def parse(text: str) -> Presence:
    """What ``look`` prints; raises PassthruError for anything else, nothing included."""
    identity, driver, parts, messages = "", None, [], []
    for line in text.splitlines():
        match line.split(" "):
            case ["identity", *words]:
                identity = " ".join(words)
            case ["driver", name]:
                driver = name
            case ["message", number] if number.isdigit():
                messages.append(int(number))
            case ["part", subsystem, name]:
                parts.append((subsystem, name))
            case _:
                raise PassthruError(f"the guest's look at a device printed {line!r}, which makes no sense")
    if not identity:
        raise PassthruError("the guest's look at a device printed nothing; a shell that works is needed to judge")
    return Presence(identity, driver, tuple(sorted(parts)), tuple(messages))


def differences(before: Presence, now: Presence | None, address: str, driver: str | None) -> list[str]:
    """What is not as it was, the gravest first; ``driver`` is the one that is wanted, "" is none."""
    if now is None:
        return [f"the guest sees no device at {address}"]
    if now.identity != before.identity:
        return [f"the guest sees another device at {address}: {now.identity}, before: {before.identity}"]
    if not driver:
        return []
    if now.driver is None:
        return [f"the guest sees {address} again, but no driver is bound to it (wanted: {driver})"]
    if now.driver != driver:
        return [f"the guest sees {address} again, but its driver is {now.driver} (wanted: {driver})"]
    return [
        f"the driver {now.driver} made {now.kinds[kind] or 'no'} {kind} of {address}, before: {_names(before, kind)}"
        for kind, count in before.kinds.items()
        if now.kinds[kind] < count
    ]


async def left_behind(context: Context, address: str, before: Presence) -> list[str]:
    """What the guest still has of a device that is gone; ``before`` is how it was."""
    parts = " ".join(shlex.quote(f"{subsystem}/{name}") for subsystem, name in before.parts)
    script = f"""\
[ ! -e /sys/bus/pci/devices/{address} ] || echo "/sys/bus/pci/devices/{address}"
for part in {parts}; do
  for link in "/sys/class/$part" "/sys/bus/${{part%%/*}}/devices/${{part#*/}}"; do
    case $(readlink "$link") in */{address}/*) echo "$link" ;; esac
  done
done
for number in {" ".join(map(str, before.messages))}; do
  [ ! -e /sys/kernel/irq/$number ] || echo "the interrupt $number"
done
grep -F {address} /proc/ioports /proc/iomem
echo looked"""
    completed = await context.run(script, needs=["readlink", "grep"])
    *found, last = completed.stdout.decode(errors="replace").splitlines() or [""]
    if last != "looked":
        raise PassthruError("the guest's look for what a device left behind did not come to its end")
    return [" ".join(line.split()) for line in found]


async def until(look_again: Callable[[], Awaitable[list[str]]], deadline: Deadline) -> list[str]:
    """Look until nothing is wrong, or the deadline is there: then what was wrong last."""
    pause = _FIRST_PAUSE
    while (wrong := await look_again()) and deadline.remaining > 0:
        await asyncio.sleep(min(pause, deadline.remaining))
        pause = min(_LONGEST_PAUSE, pause * 2)
    return wrong


def _names(presence: Presence, kind: str) -> str:
    return ", ".join(name for subsystem, name in presence.parts if subsystem == kind)
