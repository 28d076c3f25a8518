# SPDX-License-Identifier: GPL-2.0-or-later
"""The check rtc: the guest's script on made clocks in a made sysfs, and that each number counts."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check.context import AssignedDevice, Context
from passthru.check.finding import Finding, Verdict
from passthru.check.registry import judge as judge_or_skip
from passthru.check.rtc import Options, _script
from passthru.errors import PassthruError
from tests.unit.check.harness import Answer, Log

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = AssignedDevice("clock0", "c001000.rtc", "", {})


class ClockGuest:
    """A guest that answers the one script with this text."""

    def __init__(self, text: str, status: int = 0, said: str = "") -> None:
        self.kernel_log = Log()
        self._answer = Answer(text.encode(), said.encode(), status)

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        assert "/sys/bus/*/devices/c001000.rtc/rtc/rtc*" in command
        return self._answer


async def found(guest: Any, **options: Any) -> Finding:
    table = Options.model_validate({"use": "rtc", "device": "clock0", **options})
    return await judge_or_skip(Context(guest, DEVICE), table)


def said(first: int = 0, went: int = 2, passed: int = 210, interrupts: int = 1, rang: int | None = 2) -> str:
    """What the script prints; ``first`` is counted from now, ``rang`` from the moment when the alarm was set."""
    now = int(time.time()) + first
    return f"rtc1 {now} {now + went} {passed} {interrupts} {now + went + rang if rang is not None else 0}\n"


async def test_a_clock_that_goes_right_passes() -> None:
    finding = await found(ClockGuest(said()))
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == "rtc1 shows this machine's time and goes on; its alarm came with 1 interrupt"
    without = await found(ClockGuest(said(interrupts=0, rang=None)), alarm=False)
    assert without.verdict is Verdict.PASSED, without


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ({"first": -3600}, "seconds since 1970, as here, the guest read"),
        ({"first": 3600}, "seconds since 1970, as here, the guest read"),
        ({"went": 0, "passed": 2000}, "it went 0 of 2 s in 20.0 s of the guest"),
        ({"passed": 900}, "it went 2 s in 9.0 s of the guest"),
        ({"rang": None}, "its alarm, 2 s ahead, never came"),
        ({"rang": 1}, "its alarm for"),
        ({"rang": 6}, "its alarm for"),
        ({"interrupts": 0}, "expected 1 interrupt for its alarm, and 10 at most, got 0"),
        ({"interrupts": 11}, "expected 1 interrupt for its alarm, and 10 at most, got 11"),
    ],
)
async def test_each_number_counts(numbers: dict[str, Any], told: str) -> None:
    finding = await found(ClockGuest(said(**numbers)))
    assert finding.verdict is Verdict.FAILED
    assert told in finding.summary


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (3, "the guest's kernel made no clock of the device at c001000.rtc"),
        (4, "the clock at c001000.rtc takes no alarm: write error"),
        (1, "the guest could not read the clock at c001000.rtc: write error"),
    ],
)
async def test_a_device_that_is_no_clock_fails(status: int, told: str) -> None:
    finding = await found(ClockGuest("", status, "write error\n"))
    assert finding.verdict is Verdict.FAILED
    assert finding.summary == told


async def test_nonsense_is_no_verdict() -> None:
    with pytest.raises(PassthruError, match="which makes no sense"):
        await found(ClockGuest("rtc1 soon\n"))


@pytest.mark.parametrize("rings", [True, False])
def test_the_script_watches_a_clock_and_its_alarm(tmp_path: Path, rings: bool) -> None:
    """Files stand for the clock; a thread lets it go, ten times as fast, and takes the alarm away when it is due."""
    rtc = tmp_path / "bus/amba/devices/c001000.rtc/rtc/rtc1"
    (rtc / "device").mkdir(parents=True)
    (tmp_path / "rtc-pl031").mkdir()
    (rtc / "device/driver").symlink_to(tmp_path / "rtc-pl031")
    (rtc / "since_epoch").write_text("1000\n")
    (rtc / "wakealarm").write_text("")
    interrupts = tmp_path / "interrupts"
    interrupts.write_text(" 13: 5 1 GICv3 144 Level rtc-pl031\n 14: 9 9 GICv3 27 Level arch_timer\n")
    over = threading.Event()

    def go() -> None:
        for second in range(1001, 1200):
            _replaced(rtc / "since_epoch", f"{second}\n")
            due = (rtc / "wakealarm").read_text().strip()
            if rings and due and due != "0" and second >= int(due):
                _replaced(interrupts, interrupts.read_text().replace(" 5 1 ", " 6 1 "))
                _replaced(rtc / "wakealarm", "")
            if over.wait(0.1):
                return

    script = _script("c001000.rtc", Options(use="rtc", device="clock0", seconds=1))
    script = script.replace("/sys/bus", f"{tmp_path}/bus").replace("/proc/interrupts", str(interrupts))
    script = script.replace("1000 ))", "100 ))").replace("+ 1000)", "+ 100)")
    clock = threading.Thread(target=go)
    clock.start()
    try:
        ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    finally:
        over.set()
        clock.join()
    name, first, last, _, count, rang = ended.stdout.split()
    assert name == "rtc1"
    assert int(last) > int(first) >= 1000
    assert int(count) == rings
    assert int(rang) >= int(last) + 1 if rings else rang == "0"


def _replaced(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)
