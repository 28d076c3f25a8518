# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading listings of lspci."""

from __future__ import annotations

from typing import Any

import pytest

from passthru.check.lspci_listing import Capability, Region, parse
from tests.unit.check.harness import LISTING

EXPRESS = """\
0000:02:00.0 Ethernet controller: Intel Corporation 82574L Gigabit Network Connection
\tSubsystem: Intel Corporation Device 0000
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+
\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tLatency: 0, Cache Line Size: 64 bytes
\tInterrupt: pin A routed to IRQ 22
\tRegion 0: Memory at fea40000 (32-bit, non-prefetchable) [size=128K]
\tRegion 2: I/O ports at <unassigned> [disabled] [size=32]
\tExpansion ROM at feac0000 [disabled] [size=256K]
\tCapabilities: [c8] Power Management version 2
\t\tFlags: PMEClk- DSI+ D1- D2- AuxCurrent=0mA PME(D0+,D1-,D2-,D3hot+,D3cold+)
\t\tStatus: D0 NoSoftRst- PME-Enable- DSel=0 DScale=1 PME-
\tCapabilities: [d0] MSI: Enable- Count=1/1 Maskable- 64bit+
\t\tAddress: 0000000000000000  Data: 0000
\tKernel driver in use: e1000e
\tKernel modules: e1000e
"""


def test_the_documents_listing_is_read_whole_though_its_flag_lines_are_wrapped(document: dict[str, Any]) -> None:
    listing = parse(document["lspci"]["expect"])
    assert (listing.slot, listing.class_name, listing.name) == ("00:05.0", "Serial controller", "Device 4348:3253")
    assert (listing.revision, listing.interface) == ("10", "02")
    assert listing.flags["Control"]["Stepping"] == "-"
    assert list(listing.flags["Status"].items())[-6:] == [
        (">TAbort", "-"), ("<TAbort", "-"), ("<MAbort", "-"), (">SERR", "-"), ("<PERR", "-"), ("INTx", "-"),
    ]  # fmt: skip
    assert listing.flags["Control"]["I/O"] == "+"
    assert listing.flags["Status"]["DEVSEL"] == "=medium"
    assert listing.regions["Region 1"] == Region("I/O ports", 0xC158, "[size=8]")
    assert bytes(listing.config[offset] for offset in range(64))[-4:] == bytes([0x0A, 1, 0, 0])
    assert listing.fields["Kernel driver in use"] == "serial"
    assert listing.unread == ()


def test_indentation_does_not_count() -> None:
    assert parse(LISTING.replace("\t", "")) == parse(LISTING) == parse(LISTING.replace("\t", "      "))


def test_what_stands_under_a_capability_belongs_to_it() -> None:
    listing = parse(EXPRESS)
    power, msi = listing.capabilities
    assert power == Capability(
        "[c8] Power Management version 2",
        (
            "Flags: PMEClk- DSI+ D1- D2- AuxCurrent=0mA PME(D0+,D1-,D2-,D3hot+,D3cold+)",
            "Status: D0 NoSoftRst- PME-Enable- DSel=0 DScale=1 PME-",
        ),
    )
    assert msi.lines == ("Address: 0000000000000000 Data: 0000",)
    assert "D0" not in listing.flags["Status"]
    assert listing.fields["Kernel modules"] == "e1000e"
    assert listing.revision is None


def test_regions_without_an_address_and_roms_are_read() -> None:
    regions = parse(EXPRESS).regions
    assert regions["Region 0"].nature == "Memory (32-bit, non-prefetchable) [size=128K]"
    assert regions["Region 2"].address is None
    assert regions["Expansion ROM"] == Region("", 0xFEAC0000, "[disabled] [size=256K]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the listing is empty"),
        ("\n# lspci -s 00:05.0\n", "the listing is empty"),
        ("pcilib: Cannot open /proc/bus/pci", 'the listing begins with "pcilib: Cannot open /proc/bus/pci"'),
        (LISTING + LISTING.replace("05.0", "06.0"), "the listing holds a second device"),
    ],
)
def test_anything_but_one_device_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="listing") as caught:
        parse(text)
    assert said in str(caught.value)


def test_lines_that_are_not_understood_are_kept() -> None:
    assert parse(LISTING.replace("\tPhysical Slot: 5", "\t!!! Unknown header type 7f")).unread == (
        "!!! Unknown header type 7f",
    )
