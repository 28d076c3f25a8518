# SPDX-License-Identifier: GPL-2.0-or-later
"""The check lspci: the document's listing against what a guest printed, and each field able to fail."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from passthru.check.finding import Verdict
from passthru.check.lspci import Options
from tests.unit.check.harness import LISTING, Answer, TableGuest, device, judged, without

Document = dict[str, Any]

ONE_PORT = without(LISTING, "Region 1").replace("59 c0", "00 00")
DEAD = """\
00:05.0 Serial controller: WCH.CN CH352 PCI Dual Serial Port Controller (rev ff) (prog-if ff)
\t!!! Unknown header type 7f
\tKernel driver in use: serial
""" + "".join(f"{offset:02x}:{' ff' * 16}\n" for offset in range(0, 64, 16))


def answer(text: str) -> Answer:
    return Answer(text.encode())


async def test_a_sound_guest_passes_and_what_varies_is_named(document: Document) -> None:
    guest = TableGuest(answer(LISTING))
    finding = await judged("lspci", document["lspci"], guest)
    assert finding.verdict is Verdict.PASSED, finding
    assert guest.ran == ["lspci -s 0000:00:05.0 -xxvv"]
    varies = str(finding.facts["varies"])
    for named in (
        "device name",
        "Subsystem",
        "Physical Slot",
        "Interrupt",
        "Region 0",
        "Region 1",
        "config 3c",
        "config 10",
    ):
        assert named in varies


async def test_the_documents_own_listing_passes(document: Document) -> None:
    finding = await judged("lspci", document["lspci"], answer(document["lspci"]["expect"]))
    assert finding.verdict is Verdict.PASSED, finding


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("00:05.0 ", "00:06.0 ", 'slot: expected "00:05.0", got "00:06.0"'),
        ("Serial controller", "Modem", 'class: expected "Serial controller", got "Modem"'),
        ("(rev 10)", "(rev 11)", 'revision: expected "10", got "11"'),
        (" (rev 10)", "", 'revision: expected "10", got nothing'),
        ("prog-if 02", "prog-if 01", 'programming interface: expected "02", got "01"'),
        ("WCH.CN CH352 PCI Dual Serial Port Controller (rev", "Device 4348:3254 (rev", "device name: expected"),
        ("Subsystem: WCH.CN CH352 PCI Dual Serial Port Controller", "Subsystem: Device 4348:3254", "Subsystem"),
        ("I/O+", "I/O-", 'Control I/O: expected "I/O+", got "I/O-"'),
        ("DisINTx-", "DisINTx+", 'Control DisINTx: expected "DisINTx-", got "DisINTx+"'),
        (" BusMaster-", "", 'Control BusMaster: expected "BusMaster-", got nothing'),
        ("Cap-", "Cap+", "Status Cap"),
        ("DEVSEL=medium", "DEVSEL=fast", 'Status DEVSEL: expected "DEVSEL=medium", got "DEVSEL=fast"'),
        ("<MAbort-", "<MAbort+", "Status <MAbort"),
        (" INTx-", " INTx- New+", 'Status New: expected nothing, got "New+"'),
        ("pin A", "pin B", 'Interrupt: expected "pin A", got "pin B"'),
        (" routed to IRQ 10", "", "expected a routed IRQ"),
        ("I/O ports at c050", "Memory at c050", "Region 0: expected"),
        ("c058 [size=8]", "c058 [size=16]", 'Region 1: expected "I/O ports [size=8]", got "I/O ports [size=16]"'),
        ("at c058", "at <unassigned>", "Region 1: no address is assigned"),
        ("ports at c050", "ports at c060", "config 10: holds the address c050, but lspci tells Region 0 at c060"),
        ("in use: serial", "in use: vfio-pci", 'Kernel driver in use: expected "serial", got "vfio-pci"'),
        ("\tKernel driver in use: serial\n", "", "Kernel driver in use: expected"),
        ("10: 51 c0", "10: 50 c0", 'config 10 (flag bits): expected "1", got "0"'),
        ("59 c0 00 00", "01 00 00 00", "config 14: expected an address, got 00000001"),
        ("\tKernel", "\tRegion 2: I/O ports at d000 [size=8]\n\tKernel", "Region 2: expected nothing"),
        ("\tKernel", "\tCapabilities: [40] MSI\n\tKernel", 'Capabilities: expected nothing, got "[40] MSI"'),
        ("\tKernel", "\tExpansion ROM at fea00000 [size=4K]\n\tKernel", "Expansion ROM: expected nothing"),
        ("\tKernel", "\tPower budget: 3\n\tKernel", 'Power budget: expected nothing, got "3"'),
        ("\tKernel", "\t!!! Invalid class\n\tKernel", "a line that no listing of a sound device has"),
    ],
)
async def test_each_field_can_fail(document: Document, old: str, new: str, said: str) -> None:
    assert old in LISTING
    finding = await judged("lspci", document["lspci"], answer(LISTING.replace(old, new, 1)))
    assert finding.verdict is Verdict.FAILED
    assert any(said in detail for detail in finding.details), finding.details
    assert finding.details[0] in finding.summary


async def test_every_byte_of_the_configuration_space_counts_but_those_named(document: Document) -> None:
    values = [int(word, 16) for line in LISTING.splitlines() if line[2:4] == ": " for word in line[4:].split()]
    assert len(values) == 64
    free = []
    for offset in range(64):
        mutated = [*values]
        mutated[offset] ^= 0x80
        dump = "".join(f"{row:02x}: {bytes(mutated[row : row + 16]).hex(' ')}\n" for row in range(0, 64, 16))
        # The regions follow the registers, as in a guest that assigned other addresses.
        text = without(LISTING, "00:", "10:", "20:", "30:")
        header = LISTING.splitlines()[0] + "\n"
        for region, register in (("c050", 0x10), ("c058", 0x14)):
            address = int.from_bytes(bytes(mutated[register : register + 4]), "little") & ~3
            text = text.replace(f"at {region}", f"at {address:x}")
        finding = await judged("lspci", document["lspci"], answer(header + text + dump))
        if finding.verdict is Verdict.PASSED:
            free.append(offset)
    assert free == [*range(0x10, 0x18), 0x3C]


async def test_a_shorter_hexdump_fails(document: Document) -> None:
    finding = await judged("lspci", document["lspci"], answer(without(LISTING, "30:")))
    assert finding.verdict is Verdict.FAILED
    assert 'config 3d: expected "01", got nothing' in finding.details


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("c0", "d1"),
        ("IRQ 10", "IRQ 23"),
        ("\tPhysical Slot: 5\n", ""),
        ("\tKernel driver", "\tLatency: 0\n\tIOMMU group: 3\n\tKernel modules: 8250_pci\n\tKernel driver"),
        ("INTx-\n", "INTx- NewFlag-\n"),
        ("00:05.0 ", "0000:00:05.0 "),
    ],
)
async def test_what_differs_by_nature_is_told_and_passes(document: Document, old: str, new: str) -> None:
    finding = await judged("lspci", document["lspci"], answer(LISTING.replace(old, new)))
    assert finding.verdict is Verdict.PASSED, finding


async def test_a_device_that_is_dead_fails(document: Document) -> None:
    finding = await judged("lspci", document["lspci"], answer(DEAD))
    assert finding.verdict is Verdict.FAILED
    assert 'config 00: expected "48", got "ff"' in finding.details


@pytest.mark.parametrize(
    "ended", [Answer(), Answer(b" \n"), Answer(b"", b"no such thing\n", 1), Answer(LISTING.encode(), b"", 1)]
)
async def test_an_empty_listing_or_another_status_never_passes(document: Document, ended: Answer) -> None:
    finding = await judged("lspci", document["lspci"], ended)
    assert finding.verdict is Verdict.FAILED
    assert "lspci lists no device at 00:05.0" in finding.summary


async def test_an_unreadable_listing_fails(document: Document) -> None:
    finding = await judged("lspci", document["lspci"], answer("something else\n"))
    assert finding.verdict is Verdict.FAILED
    assert 'begins with "something else"' in finding.summary


async def test_without_lspci_the_check_is_skipped_and_names_it(document: Document) -> None:
    finding = await judged("lspci", document["lspci"], Answer(b"", b"sh: lspci: not found\n", 127))
    assert finding.verdict is Verdict.SKIPPED
    assert finding.facts["capability"] == "lspci in the guest"


async def test_the_expected_listing_follows_the_devices_options(document: Document) -> None:
    one, two = device(ports=1), device(ports=2)
    assert (await judged("lspci", document["lspci"], answer(ONE_PORT), one)).verdict is Verdict.PASSED
    assert (await judged("lspci", document["lspci"], answer(ONE_PORT), two)).verdict is Verdict.FAILED
    assert (await judged("lspci", document["lspci"], answer(LISTING), one)).verdict is Verdict.FAILED


async def test_another_slot_is_expected_where_the_device_is_in_another_slot(document: Document) -> None:
    moved = LISTING.replace("00:05.0", "00:07.0").replace("Slot: 5", "Slot: 7")
    there = device("0000:00:07.0")
    assert (await judged("lspci", document["lspci"], answer(moved), there)).verdict is Verdict.PASSED
    assert (await judged("lspci", document["lspci"], answer(LISTING), there)).verdict is Verdict.FAILED


async def test_offsets_can_be_freed_by_the_scenario(document: Document) -> None:
    mutated = LISTING.replace("32 01 00", "32 05 00")
    assert (await judged("lspci", document["lspci"], answer(mutated))).verdict is Verdict.FAILED
    finding = await judged("lspci", {**document["lspci"], "varies": ("04-05",)}, answer(mutated))
    assert finding.verdict is Verdict.PASSED
    assert "config 04: 05, as the scenario says" in str(finding.facts["varies"])


CAPABLE = LISTING.replace(
    "\tKernel", "\tCapabilities: [40] Express (v2) Endpoint\n\t\tDevCap: MaxPayload 128 bytes\n\t\tNew: x\n\tKernel"
)


@pytest.mark.parametrize(
    ("got", "verdict"),
    [
        (CAPABLE, Verdict.PASSED),
        (CAPABLE.replace("\t\tNew: x\n", ""), Verdict.FAILED),
        (CAPABLE.replace("[40]", "[44]"), Verdict.FAILED),
        (CAPABLE.replace("128", "256"), Verdict.FAILED),
        (LISTING, Verdict.FAILED),
    ],
)
async def test_capabilities_and_their_lines_are_compared(got: str, verdict: Verdict) -> None:
    finding = await judged("lspci", {"device": "mtty0", "expect": CAPABLE}, answer(got))
    assert finding.verdict is verdict, finding


async def test_without_expected_numbers_a_name_must_be_the_same() -> None:
    expected = without(LISTING, "10:", "20:", "30:")
    expected = expected.replace("00: 48 43 53 32 01 00 00 02 10 02 00 07 00 00 00 00\n", "")
    got = LISTING.replace("CH352", "CH353")
    finding = await judged("lspci", {"device": "mtty0", "expect": expected}, answer(got))
    assert finding.verdict is Verdict.FAILED
    assert finding.details[0].startswith("device name: expected")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"expect": "nothing"}, 'is no listing of lspci: the listing begins with "nothing"'),
        ({"expect": LISTING, "varies": ("zz",)}, "should match pattern"),
        ({"expect": LISTING, "variant": ({"when": {"ports": 1}, "omit": ("Region 7",)},)}, '"Region 7" finds none'),
    ],
)
def test_options_that_cannot_work_are_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Options.model_validate({"use": "lspci", "device": "mtty0", **table})
    assert said in str(caught.value)
