# SPDX-License-Identifier: GPL-2.0-or-later
"""``serial-loopback``: every byte sent to a serial port of the device comes back, in order and unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from passthru.check.finding import Finding, Verdict, judged
from passthru.check.serial_options import SerialOptions
from passthru.check.serial_traffic import NotDriven, complaints, drive, parse

if TYPE_CHECKING:
    from passthru.check.context import Context


class Options(SerialOptions):
    """A check with ``use = "serial-loopback"``."""

    use: Literal["serial-loopback"]


async def judge(context: Context, options: Options) -> Finding:
    """Send the bursts in the guest and compare every byte that comes back."""
    traffic = options.traffic
    try:
        ports = parse(await drive(context, traffic))
    except NotDriven as error:
        return Finding(Verdict.FAILED, str(error), error.last_lines)
    wrong = [sentence for port in ports for sentence in complaints(traffic, port)]
    amount = traffic.size * traffic.bursts
    return judged(
        wrong,
        passed=f"{amount} bytes ({traffic.bursts} bursts of {traffic.size}) came back unchanged on each of "
        + " and ".join(port.name for port in ports),
        failed="bytes did not come back",
        facts={
            "burst": traffic.size,
            "bursts": traffic.bursts,
            "ports": {port.name: sum(map(len, port.received)) for port in ports},
        },
    )
