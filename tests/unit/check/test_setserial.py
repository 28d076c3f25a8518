# SPDX-License-Identifier: GPL-2.0-or-later
"""The check setserial: types and number of the ports, and that they are where the device's registers are."""

from __future__ import annotations

from typing import Any

import pytest

from passthru.check.finding import Finding, Verdict
from passthru.check.setserial import Options, Uart, parse
from passthru.errors import PassthruError
from tests.unit.check.harness import DMESG, RESOURCE, SETSERIAL, Answer, Log, TableGuest, device, judged, without

Document = dict[str, Any]
SOUND = {
    "setserial": SETSERIAL,
    "names": "ttyS1\nttyS2\n",
    "resource": RESOURCE,
    "irq": "10\n",
    "log": DMESG,
}


def a_guest(**files: str) -> TableGuest:
    """A sound guest but for these texts."""
    files = {**SOUND, **files}
    output = "{names}\n{irq}{resource}\n{setserial}".format_map(files)
    return TableGuest(Answer(output.encode()), Log(lines=files["log"].splitlines()))


async def found(document: Document, **files: str) -> Finding:
    return await judged("setserial", document["setserial"], a_guest(**files))


def test_lines_are_read_and_others_left_out() -> None:
    assert parse("# setserial -g\n" + SETSERIAL + "/dev/ttyS4: No such device\n")[1:3] == (
        Uart("ttyS1", "16550A", 0xC050, 10),
        Uart("ttyS2", "16550A", 0xC058, 10),
    )


async def test_a_sound_guest_passes_with_an_unused_port_beside(document: Document) -> None:
    finding = await found(document)
    assert finding.verdict is Verdict.PASSED, finding
    assert "ttyS1 (16550A at 0xc050, interrupt 10)" in finding.summary


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"setserial": SETSERIAL.replace("ttyS2, UART: 16550A", "ttyS2, UART: 16450")},
            "expected UART 16550A, got 16450",
        ),
        (
            {"setserial": SETSERIAL.replace("ttyS1, UART: 16550A", "ttyS1, UART: unknown")},
            "ttyS1: expected UART 16550A",
        ),
        ({"setserial": without(SETSERIAL, "/dev/ttyS2")}, "ttyS2: setserial does not list it"),
        ({"setserial": ""}, "ttyS0: expected 16550A, 0x3f8, 4, got none"),
        ({"setserial": SETSERIAL.replace("0x03f8, IRQ: 4", "0x03f8, IRQ: 0")}, "ttyS0: expected 16550A, 0x3f8, 4"),
        ({"names": "ttyS1\n"}, "ports of the device: expected 2, got 1 (ttyS1)"),
        ({"names": "ttyS1\nttyS2\nttyS3\n"}, "ports of the device: expected 2, got 3"),
        ({"names": ""}, "ports of the device: expected 2, got 0 (none)"),
        (
            {"resource": RESOURCE.replace("c058", "c068")},
            "ttyS2: its port 0xc058 is not where the device's I/O regions",
        ),
        ({"resource": RESOURCE.replace("40101", "40200")}, "ttyS1: its port 0xc050 is not where"),
        ({"setserial": SETSERIAL.replace("0xc058", "0xc050")}, "ttyS2: shares its port 0xc050"),
        ({"irq": "11\n"}, "ttyS1: its interrupt is 10, but the device's is 11"),
        ({"log": DMESG.replace("0xc050", "0xd050")}, "but the kernel's log says 0xd050 and 10"),
        ({"log": DMESG.replace("irq = 10", "irq = 9")}, "but the kernel's log says 0xc050 and 9"),
    ],
)
async def test_each_field_can_fail(document: Document, files: dict[str, str], said: str) -> None:
    finding = await found(document, **files)
    assert finding.verdict is Verdict.FAILED
    assert any(said in detail for detail in finding.details), finding.details


async def test_other_names_and_addresses_pass(document: Document) -> None:
    def moved(text: str) -> str:
        return text.replace("ttyS2", "ttyS5").replace("ttyS1", "ttyS4").replace("c05", "d15").replace("10", "23")

    files = {name: moved(SOUND[name]) for name in ("setserial", "names", "log")}
    finding = await found(document, **files, resource=RESOURCE.replace("c05", "d15"), irq="23\n")
    assert finding.verdict is Verdict.PASSED, finding


async def test_ports_of_one_region_lie_inside_of_it() -> None:
    table = {"device": "d", "expect": SETSERIAL}
    whole = "0x000000000000c050 0x000000000000c05f 0x0000000000040101\n"
    assert (await judged("setserial", table, a_guest(resource=whole))).verdict is Verdict.PASSED
    half = whole.replace("c05f", "c057")
    assert (await judged("setserial", table, a_guest(resource=half))).verdict is Verdict.FAILED


async def test_the_expected_lines_follow_the_devices_options(document: Document) -> None:
    one = a_guest(names="ttyS1\n", resource=RESOURCE.splitlines()[0] + "\n")
    assert (await judged("setserial", document["setserial"], one, device(ports=1))).verdict is Verdict.PASSED
    assert (await judged("setserial", document["setserial"], one, device(ports=2))).verdict is Verdict.FAILED


@pytest.mark.parametrize("output", ["", "ttyS1\n", "ttyS1\n\nno number\n\n", "one line"])
async def test_an_unreadable_output_is_not_judged(document: Document, output: str) -> None:
    with pytest.raises(PassthruError, match="printed something unreadable"):
        await judged("setserial", document["setserial"], Answer(output.encode()))


async def test_a_device_that_the_guest_does_not_have_fails(document: Document) -> None:
    gone = Answer(b"", b"cat: can't open '/sys/bus/pci/devices/0000:00:05.0/resource': No such file\n", 1)
    finding = await judged("setserial", document["setserial"], gone)
    assert finding.verdict is Verdict.FAILED
    assert "does not know the device at 0000:00:05.0" in finding.summary


async def test_without_setserial_the_check_is_skipped(document: Document) -> None:
    finding = await judged("setserial", document["setserial"], Answer(b"", b"setserial: not found\n", 127))
    assert finding.verdict is Verdict.SKIPPED
    assert "setserial" in finding.summary


def test_expected_lines_without_a_port_of_the_device_are_refused() -> None:
    with pytest.raises(ValueError, match="holds no line of setserial for a port of the device"):
        Options.model_validate({"use": "setserial", "device": "d", "expect": SETSERIAL.splitlines()[0]})
