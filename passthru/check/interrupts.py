# SPDX-License-Identifier: GPL-2.0-or-later
"""``interrupts``: a known traffic over the device's serial ports raises a plausible number of interrupts.

None at all means that the guest polls or that the interrupt goes astray; far too many, that it is never taken back.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from passthru.check.finding import Finding, Verdict, judged
from passthru.check.serial_options import SerialOptions
from passthru.check.serial_traffic import NotDriven, drive, parse

if TYPE_CHECKING:
    from passthru.check.context import Context

_LINE = re.compile(r"\s*(?P<number>\d+):(?P<counts>(?:\s+\d+)+)\s+(?P<name>\S.*)")
# A 16550 tells of a received byte, of the time-out after it and of the empty transmitter: three a byte, were each byte
# alone; and some for opening the port, whose tests of the transmitter interrupt raise it on purpose.
_MOST_A_BYTE = 3
_MOST_FOR_OPENING = 16


class Options(SerialOptions):
    """A check with ``use = "interrupts"``."""

    use: Literal["interrupts"]
    bursts: int = Field(default=2, ge=1, le=1024)
    """Bursts on each port."""
    at_least: int | None = Field(default=None, ge=1)
    """The smallest plausible growth on a port; by default one interrupt a burst."""
    at_most: int | None = Field(default=None, ge=1)
    """The largest plausible growth on a port; by default three interrupts a byte, and 16 for opening the port."""


async def judge(context: Context, options: Options) -> Finding:
    """Count the device's interrupts around a known traffic, port by port."""
    device, traffic = context.the_device, options.traffic
    nodes = f"/sys/bus/pci/devices/{device.address}"
    try:
        files = await drive(
            context,
            traffic,
            opened=f'read -r irq <{nodes}/irq; echo "$irq" {nodes}/msi_irqs/* >irq; cat /proc/interrupts >$port.before',
            closing="cat /proc/interrupts >$port.after",
        )
    except NotDriven as error:
        return Finding(Verdict.FAILED, str(error), error.last_lines)
    ports = parse(files)
    numbers = irq_numbers(files["irq"].decode())
    least = options.at_least or traffic.bursts
    most = options.at_most or _MOST_A_BYTE * traffic.size * traffic.bursts + _MOST_FOR_OPENING
    wrong, growths = [], {}
    for port in ports:
        before = lines(files[f"{port.number}.before"].decode(), numbers)
        after = lines(files[f"{port.number}.after"].decode(), numbers)
        what = f"port {port.number} ({port.name})"
        if not after:
            shown = ", ".join(map(str, sorted(numbers)))
            wrong.append(f"{what}: /proc/interrupts has no line for the device's interrupt {shown}")
            continue
        growth = sum(count for count, _ in after.values()) - sum(count for count, _ in before.values())
        growths[port.name] = growth
        named = "; ".join(f"interrupt {number} ({name})" for number, (_, name) in after.items())
        if growth < least:
            wrong.append(f"{what}: {named} grew by {growth}, which is less than {least}: interrupts do not arrive")
        elif growth > most:
            wrong.append(f"{what}: {named} grew by {growth}, which is more than {most}: an interrupt storm")
    amount = f"{traffic.bursts} bursts of {traffic.size} bytes"
    told = ", ".join(f"{growth} on {name}" for name, growth in growths.items())
    return judged(
        wrong,
        passed=f"{amount} raised {told} interrupts, where {least} to {most} are plausible",
        failed=f"{amount} raised an implausible number of interrupts",
        facts={"growth": growths, "at_least": least, "at_most": most, "interrupts": sorted(numbers)},
    )


def irq_numbers(text: str) -> frozenset[int]:
    """The device's interrupt numbers: its ``irq`` file and the names in ``msi_irqs``, where these exist."""
    words = [word.rsplit("/", 1)[-1] for word in text.split()]
    return frozenset(int(word) for word in words if word.isdigit())


def lines(text: str, numbers: frozenset[int]) -> dict[int, tuple[int, str]]:
    """The lines of /proc/interrupts for ``numbers``: the sum over the CPUs, and the chip and drivers' names."""
    found = (_LINE.fullmatch(line) for line in text.splitlines())
    return {
        int(match["number"]): (sum(map(int, match["counts"].split())), " ".join(match["name"].split()))
        for match in found
        if match and int(match["number"]) in numbers
    }
