# SPDX-License-Identifier: GPL-2.0-or-later
"""``serial-outside``: what the guest sends comes out of the card's connector, and what is put in there arrives.

The guest sends a burst, the outside reads it and answers with its complement, and so on: every bit of every value
crosses in both directions, and neither side runs ahead of the other, with no flow control at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from passthru.check.finding import Finding, Verdict, judged
from passthru.check.serial_options import BurstOptions
from passthru.check.serial_traffic import NotDriven, complaints, difference, drive, parse, reply, sent
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from passthru.check.context import Context
    from passthru.check.outside import Line
    from passthru.check.serial_traffic import Traffic

_NOW = Deadline(0.0)
_SLOWEST = 500
"""Bytes a second that even an emulated guest of an emulated host sends."""
_LONGEST_SILENCE = 25.0


class Options(BurstOptions):
    """A check with ``use = "serial-outside"``."""

    use: Literal["serial-outside"]
    port: int = Field(default=0, ge=0)
    """Which port of the device, by its number from 0, is connected to the outside."""
    hardware: str = ""
    """The hardware of the host whose outside it is; by default that which is assigned as the device."""
    bytes: int = Field(default=64, ge=1, le=4095)
    """Bytes of a burst in each direction; more than the 16 of a FIFO."""
    bursts: int = Field(default=5, ge=1, le=1024)
    """Bursts in each direction; 5 bursts of 64 bytes hold all 256 values."""
    silence: float = Field(default=3.0, gt=0, le=25)
    """Seconds without a byte after which the rest of a burst counts as lost, on either side."""


async def judge(context: Context, options: Options) -> Finding:
    """Send bursts in the guest, answer them from outside, and compare every byte in both directions."""
    device = context.the_device
    hardware = options.hardware or device.hardware
    line = context.the_line(hardware)
    traffic = options.traffic_over((options.port,))
    traffic = replace(traffic, silence=min(_LONGEST_SILENCE, traffic.silence + traffic.size / _SLOWEST))
    outside = _Outside(line, traffic, context.deadline)
    stale = await outside.drained()
    answering = asyncio.create_task(outside.answer(), name=f"the outside of {hardware}")
    try:
        (port,) = parse(await drive(context, traffic))
        # What it sent last may be on its way out still.
        surplus = await outside.drained() if answering.done() else b""
    except NotDriven as error:
        return Finding(Verdict.FAILED, str(error), error.last_lines, {"outside": outside.received_hex()})
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    if not answering.cancelled() and (broken := answering.exception()):
        raise broken
    wrong = outside.complaints(len(port.received), f"port {port.number} ({port.name})")
    # The guest hears nothing where the outside, which heard wrongly, did not answer.
    wrong += [] if wrong else complaints(traffic, port, reply, "from outside")
    if surplus:
        wrong.append(f"{len(surplus)} bytes came out that were not sent: {surplus[:16].hex(' ')}")
    told = [f"{len(stale)} bytes had come out of {hardware} before: {stale[:16].hex(' ')}"] if stale else []
    amount = traffic.size * traffic.bursts
    return judged(
        wrong,
        passed=f"{amount} bytes ({traffic.bursts} bursts of {traffic.size}) of {port.name} came out of {hardware}, and"
        " as many that were put in there arrived",
        failed=f"bytes were lost between {port.name} and the outside of {hardware}",
        told=told,
        facts={
            "burst": traffic.size,
            "bursts": traffic.bursts,
            "out": sum(map(len, outside.received)),
            "in": sum(map(len, port.received)),
        },
    )


class _Outside:
    """The far end of the wire: ``received`` are the bursts that came out."""

    def __init__(self, line: Line, traffic: Traffic, deadline: Deadline) -> None:
        self._line = line
        self._traffic = traffic
        self._deadline = deadline
        self.received: list[bytes] = []

    async def drained(self) -> bytes:
        """What is there already."""
        found = b""
        try:
            while data := await self._line.read(_NOW):
                found += data
        except DeadlineExceeded:
            pass
        return found

    async def answer(self) -> None:
        """Read each burst, and answer it; a burst that is not as it was sent is the last."""
        for number in range(self._traffic.bursts):
            if await self._burst() != sent(self._traffic, number):
                return
            await self._line.write(reply(self._traffic, number), self._deadline)

    async def _burst(self) -> bytes:
        # For the first byte the guest has all the time there is: this ends with the guest's script.
        self.received.append(b"")
        limit = self._deadline
        while len(self.received[-1]) < self._traffic.size:
            try:
                data = await self._line.read(limit)
            except DeadlineExceeded:
                break
            if not data:
                break
            self.received[-1] += data
            limit = self._deadline.narrowed(self._traffic.silence)
        return self.received[-1]

    def complaints(self, tried: int, where: str) -> list[str]:
        """What is wrong with what came out, of as many bursts as the guest sent."""
        wrong = []
        for number in range(tried):
            expected = sent(self._traffic, number)
            received = self.received[number] if number < len(self.received) else b""
            if received != expected:
                wrong.append(
                    f"{where}: burst {number + 1} of {self._traffic.bursts}: sent {len(expected)} bytes,"
                    f" {len(received)} came out: {difference(expected, received)}"
                )
                break
        return wrong

    def received_hex(self) -> list[str]:
        """What came out, for facts."""
        return [burst.hex(" ") for burst in self.received]
