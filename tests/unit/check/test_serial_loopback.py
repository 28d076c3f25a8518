# SPDX-License-Identifier: GPL-2.0-or-later
"""The check serial-loopback: every byte of every burst on every port counts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from passthru.check.finding import Finding, Verdict
from passthru.check.serial_loopback import Options
from passthru.check.serial_traffic import Traffic, sent
from passthru.errors import DeadlineExceeded
from tests.unit.check.harness import Answer, TableGuest, bundle, judged

TRAFFIC = Traffic(15, 3)
TABLE: dict[str, Any] = {"device": "mtty0", "bytes": 15, "bursts": 3}


def sound(ports: int = 2) -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {"ports": f"{ports}\n"}
    for port in range(ports):
        files |= {f"{port}.name": f"ttyS{port + 1}\n", f"{port}.surplus": b""}
        files |= {f"{port}.{burst}": sent(TRAFFIC, burst) for burst in range(TRAFFIC.bursts)}
    return files


async def found(changes: dict[str, bytes | str], *missing: str, ports: object = "all") -> Finding:
    files = {name: body for name, body in {**sound(), **changes}.items() if name not in missing}
    return await judged("serial-loopback", {**TABLE, "ports": ports}, bundle(files))


async def test_all_bytes_back_passes() -> None:
    finding = await found({})
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == "45 bytes (3 bursts of 15) came back unchanged on each of ttyS1 and ttyS2"
    assert finding.facts["ports"] == {"ttyS1": 45, "ttyS2": 45}


async def test_each_single_byte_counts() -> None:
    for port in range(2):
        for burst in range(3):
            for offset in range(15):
                wrong = bytearray(sent(TRAFFIC, burst))
                wrong[offset] ^= 1
                finding = await found({f"{port}.{burst}": bytes(wrong)})
                assert finding.verdict is Verdict.FAILED
                assert f"port {port} (ttyS{port + 1}): burst {burst + 1} of 3: sent 15 bytes, got 15" in finding.summary


async def test_a_burst_that_is_lost_whole_is_told_byte_by_byte() -> None:
    finding = await found({"1.0": b""}, "1.1", "1.2")
    assert finding.verdict is Verdict.FAILED
    values = sent(TRAFFIC, 0).hex(" ")
    assert finding.details == (
        f"port 1 (ttyS2): burst 1 of 3: sent 15 bytes, got 0 back: lost bytes 0-14 ({values})",
        "port 1 (ttyS2): 2 bursts of 3 were not sent after that loss",
    )


async def test_lost_changed_and_additional_bytes_are_told_apart() -> None:
    burst = sent(TRAFFIC, 1)
    lost = await found({"0.1": burst[:4] + burst[6:]})
    assert f"lost bytes 4-5 ({burst[4:6].hex(' ')})" in lost.summary
    changed = await found({"0.1": burst[:7] + b"\xee" + burst[8:]})
    assert f"byte 7 ({burst[7]:02x}) came as ee" in changed.summary
    more = await found({"0.1": burst[:2] + b"\xee" + burst[2:]})
    assert "ee came in addition before byte 2" in more.summary
    late = await found({"0.surplus": b"\x01\x02"})
    assert "port 0 (ttyS1): 2 bytes came back that were not sent: 01 02" in late.summary


async def test_a_late_burst_does_not_pass_for_the_next_one() -> None:
    finding = await found({"0.1": sent(TRAFFIC, 0)})
    assert finding.verdict is Verdict.FAILED


async def test_a_device_without_ports_fails() -> None:
    finding = await judged("serial-loopback", TABLE, bundle({"ports": "0\n"}))
    assert finding.verdict is Verdict.FAILED
    assert "made no serial port of the device at 0000:00:05.0" in finding.summary


async def test_a_port_that_is_asked_for_and_not_there_fails() -> None:
    finding = await found({"ports": "1\n"}, *(name for name in sound() if name.startswith("1.")), ports=(0, 1))
    assert finding.verdict is Verdict.FAILED
    assert "port 1: the guest has only 1 serial ports on this device" in finding.summary


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (
            Answer(b"", b"sh: can't open '/dev/ttyS1': Input/output error\n", 2),
            "could not drive the serial ports of mtty0",
        ),
        (DeadlineExceeded("the guest command", 3.0), "the serial ports of mtty0 hang"),
    ],
)
async def test_ports_that_cannot_be_driven_or_hang_fail(ended: Answer | Exception, said: str) -> None:
    finding = await judged("serial-loopback", TABLE, ended)
    assert finding.verdict is Verdict.FAILED
    assert said in finding.summary


async def test_without_stty_the_check_is_skipped() -> None:
    finding = await judged("serial-loopback", TABLE, Answer(b"", b"sh: stty: not found\n", 127))
    assert finding.verdict is Verdict.SKIPPED
    assert "stty" in finding.summary


async def test_one_command_serves_all_ports_and_bursts() -> None:
    guest = TableGuest(bundle(sound()))
    await judged("serial-loopback", TABLE, guest)
    (command,) = guest.ran
    assert "-crtscts" in command


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": 0},
        {"bytes": 4096},
        {"bytes": 1000, "bursts": 20},
        {"bytes": "15"},
        {"bursts": 0},
        {"ports": "none"},
        {"ports": (-1,)},
        {"x": 1},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "serial-loopback", "device": "mtty0", **wrong})
