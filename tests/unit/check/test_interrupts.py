# SPDX-License-Identifier: GPL-2.0-or-later
"""The check interrupts: a plausible growth passes; none, too few, too many and no line at all fail."""

from __future__ import annotations

from typing import Any

import pytest

from passthru.check.finding import Finding, Verdict
from passthru.check.interrupts import irq_numbers, lines
from passthru.errors import DeadlineExceeded
from tests.unit.check.harness import INTERRUPTS, Answer, bundle, judged, without

TABLE: dict[str, Any] = {"device": "mtty0", "bytes": 15, "bursts": 4}


async def grown(*growths: int, table: dict[str, Any] = TABLE, after: str = INTERRUPTS) -> Finding:
    files: dict[str, str | bytes] = {"irq": "10 /sys/bus/pci/devices/0000:00:05.0/msi_irqs/*\n", "ports": "1\n"}
    for port, growth in enumerate(growths):
        files |= {f"{port}.name": f"ttyS{port + 1}\n", f"{port}.surplus": b"", f"{port}.0": b""}
        files[f"{port}.before"] = INTERRUPTS.format(2, 5)
        files[f"{port}.after"] = after.format(2 + growth, 5)
    return await judged("interrupts", table, bundle(files))


def test_lines_are_summed_over_all_cpus() -> None:
    assert lines(INTERRUPTS.format(2, 5), frozenset({10})) == {10: (7, "IO-APIC 10-fasteoi ttyS1")}
    assert lines(INTERRUPTS.format(2, 5), frozenset({11})) == {}


def test_numbers_come_from_the_line_and_from_message_signalled_interrupts() -> None:
    assert irq_numbers("10 /sys/bus/pci/devices/0000:00:05.0/msi_irqs/*\n") == {10}
    assert irq_numbers("0 /sys/x/msi_irqs/24 /sys/x/msi_irqs/25\n") == {0, 24, 25}


@pytest.mark.parametrize("growth", [4, 12, 196])
async def test_a_plausible_growth_passes_and_is_told(growth: int) -> None:
    finding = await grown(growth, growth)
    assert finding.verdict is Verdict.PASSED, finding
    assert f"{growth} on ttyS1, {growth} on ttyS2" in finding.summary
    assert "4 to 196 are plausible" in finding.summary


@pytest.mark.parametrize(
    ("growths", "said"),
    [
        ((0,), "grew by 0, which is less than 4: interrupts do not arrive"),
        ((3,), "grew by 3, which is less than 4"),
        ((8, 0), "port 1 (ttyS2): interrupt 10 (IO-APIC 10-fasteoi ttyS1) grew by 0"),
        ((197,), "grew by 197, which is more than 196: an interrupt storm"),
        ((-1,), "grew by -1"),
    ],
)
async def test_an_implausible_growth_fails(growths: tuple[int, ...], said: str) -> None:
    finding = await grown(*growths)
    assert finding.verdict is Verdict.FAILED
    assert said in finding.details[0]


async def test_the_range_can_be_given() -> None:
    table = {**TABLE, "at_least": 6, "at_most": 7}
    verdicts = [(await grown(growth, table=table)).verdict for growth in (5, 6, 7, 8)]
    assert verdicts == [Verdict.FAILED, Verdict.PASSED, Verdict.PASSED, Verdict.FAILED]


async def test_a_device_without_a_line_fails() -> None:
    finding = await grown(4, after=without(INTERRUPTS, "10:"))
    assert finding.verdict is Verdict.FAILED
    assert "/proc/interrupts has no line for the device's interrupt 10" in finding.summary


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (bundle({"ports": "0\n"}), "made no serial port"),
        (Answer(b"", b"stty: error\n", 1), "could not drive the serial ports of mtty0: stty: error"),
        (DeadlineExceeded("the guest command", 3.0), "hang"),
    ],
)
async def test_ports_that_are_not_there_or_hang_fail(ended: Answer | Exception, said: str) -> None:
    finding = await judged("interrupts", TABLE, ended)
    assert finding.verdict is Verdict.FAILED
    assert said in finding.summary
