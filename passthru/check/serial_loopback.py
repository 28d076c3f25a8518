# SPDX-License-Identifier: GPL-2.0-or-later
"""``serial-loopback``: every byte sent to a serial port of the device comes back, in order and unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from passthru.check import bundle
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.serial_options import SerialOptions
from passthru.check.serial_traffic import complaints, parse, script
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from passthru.check.context import Context


class Options(SerialOptions):
    """A check with ``use = "serial-loopback"``."""

    use: Literal["serial-loopback"]


async def judge(context: Context, options: Options) -> Finding:
    """Send the bursts in the guest and compare every byte that comes back."""
    device, traffic = context.the_device, options.traffic
    try:
        completed = await context.run(script(device.address, traffic), needs=["stty", "dd", "stat"])
    except DeadlineExceeded as error:
        return Finding(
            Verdict.FAILED,
            f"the serial ports of {device.id} hang: sending and reading back did not end within {error.seconds:.1f} s",
            error.last_lines,
        )
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip()
        return Finding(Verdict.FAILED, f"the guest could not drive the serial ports of {device.id}: {said}")
    files = bundle.parse(completed.stdout)
    ports = parse(files)
    there = int(files["ports"])
    absent = [port for port in traffic.ports or () if port >= there]
    wrong = [f"port {port}: the guest has only {there} serial ports on this device" for port in absent]
    if not ports and not absent:
        wrong.append(f"the guest's kernel made no serial port (ttyS) of the device at {device.address}")
    wrong += [sentence for port in ports for sentence in complaints(traffic, port)]
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
