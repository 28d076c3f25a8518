# SPDX-License-Identifier: GPL-2.0-or-later
"""mtty's registers, row by row against what samples/vfio-mdev/mtty.c does."""

from __future__ import annotations

import pytest

from passthru.emulation.models.mtty import Mtty
from passthru.emulation.models.mtty.uart import Uart
from passthru.vfio import linux_vfio as vfio

THR = RBR = DLL = 0
IER = DLM = 1
FCR = IIR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7
RDI, THRI, RLSI, MSI = 1, 2, 4, 8
DLAB = 0x80


class Port:
    """A UART and the events it raised."""

    def __init__(self, fifo: str = "faithful") -> None:
        self.events = 0
        self.uart = Uart(self._event, empty_by_count=fifo == "fixed")

    def _event(self) -> None:
        self.events += 1

    def read(self, register: int) -> int:
        return self.uart.read(register, 1)[0]

    def write(self, register: int, value: int) -> int:
        """Write; returns the number of events that this raised."""
        before = self.events
        self.uart.write(register, bytes((value,)))
        return self.events - before

    def send(self, data: bytes) -> None:
        for value in data:
            self.write(THR, value)

    def receive(self, count: int) -> bytes:
        return bytes(self.read(RBR) for _ in range(count))


@pytest.fixture(params=["faithful", "fixed"])
def port(request: pytest.FixtureRequest) -> Port:
    """A fresh port of either kind: they differ with 16 unread bytes only."""
    return Port(request.param)


@pytest.fixture
def faithful() -> Port:
    return Port()


@pytest.fixture
def fixed() -> Port:
    return Port("fixed")


@pytest.mark.parametrize(
    ("register", "value"),
    [(RBR, 0), (IER, 0), (IIR, 0xC1), (LCR, 0), (MCR, 0), (LSR, 0x60), (MSR, 0xB3), (SCR, 0)],
)
def test_registers_at_the_start(port: Port, register: int, value: int) -> None:
    assert port.read(register) == value
    assert port.events == 0


@pytest.mark.parametrize(
    ("register", "written", "read"),
    [
        (IER, 0xFF, 0x0F),
        (IER, 0xF0, 0x00),
        (LCR, 0x7F, 0x7F),
        (LCR, 0xFF, 0xFF),
        (MCR, 0xFF, 0xFF),
        (SCR, 0xA5, 0xA5),
        (LSR, 0xFF, 0x60),
        (MSR, 0x00, 0xB3),
    ],
)
def test_what_is_read_after_a_write(port: Port, register: int, written: int, read: int) -> None:
    port.write(register, written)
    assert port.read(register) == read


@pytest.mark.parametrize("count", [1, 2, 14, 15])
def test_up_to_15_bytes_come_back(port: Port, count: int) -> None:
    data = bytes(range(1, count + 1))
    for _ in range(3):  # wherever the FIFO's head is
        port.send(data)
        assert port.read(LSR) == 0x01
        assert port.receive(count) == data
        assert port.read(LSR) == 0x60


def test_16_unread_bytes_look_like_none(faithful: Port) -> None:
    faithful.write(IER, RDI | RLSI)
    faithful.send(bytes(range(16)))
    assert faithful.read(LSR) == 0x60
    assert faithful.read(IIR) == 0xC4  # and yet the count says that there are
    assert faithful.receive(20) == bytes(20)
    assert faithful.write(THR, 0x55) == 1  # overrun
    assert faithful.read(LSR) == 0x62
    assert faithful.read(IIR) == 0xC6
    faithful.write(FCR, 0x07)
    assert faithful.read(LSR) == 0x62  # clearing the FIFO does not clear the overrun
    faithful.send(b"x")
    assert faithful.read(LSR) == 0x01  # the next byte that is taken does
    assert faithful.receive(1) == b"x"


def test_16_unread_bytes_come_back_whole_where_that_is_fixed(fixed: Port) -> None:
    fixed.write(IER, RDI | RLSI)
    for _ in range(3):
        fixed.send(bytes(range(16)))
        assert fixed.read(LSR) == 0x01
        assert fixed.write(THR, 0x55) == 1
        assert fixed.read(LSR) == 0x03
        assert fixed.receive(16) == bytes(range(16))
        assert fixed.read(LSR) == 0x62
        assert fixed.receive(1) == b"\0"


def test_without_fifo_one_byte_fits(port: Port) -> None:
    port.write(FCR, 0x00)
    port.send(b"ab")
    assert port.read(LSR) == 0x03
    assert port.receive(2) == b"a\0"
    assert port.read(LSR) == 0x62
    port.write(FCR, 0x01)
    port.send(b"cd")
    assert port.receive(2) == b"cd"


@pytest.mark.parametrize("clear", [0x02, 0x04, 0x06])
def test_either_clear_bit_clears_the_fifo(port: Port, clear: int) -> None:
    port.send(b"abc")
    port.write(FCR, clear | 1)
    assert (port.read(LSR), port.read(RBR)) == (0x60, 0)
    port.send(b"d")
    assert port.receive(1) == b"d"


def test_fcr_without_clear_bits_keeps_the_fifo(port: Port) -> None:
    port.send(b"abc")
    port.write(FCR, 0xC1)
    assert port.receive(3) == b"abc"


def test_the_divisor_ors_what_is_written_until_dlab_is_set_again(port: Port) -> None:
    port.write(SCR, 0x11)
    port.write(LCR, DLAB)
    port.write(DLL, 0x0C)
    port.write(DLM, 0x01)
    assert (port.read(DLL), port.read(DLM)) == (0x0C, 0x01)
    port.write(DLL, 0x30)
    port.write(DLM, 0x80)
    assert (port.read(DLL), port.read(DLM)) == (0x3C, 0x81)
    port.write(LCR, 0x03)
    assert (port.read(LSR), port.read(IER), port.events) == (0x60, 0, 0)
    port.write(LCR, 0x83)
    assert (port.read(DLL), port.read(DLM), port.read(LCR)) == (0, 0, 0x83)


def test_reading_the_divisor_takes_nothing_from_the_fifo(port: Port) -> None:
    port.send(b"a")
    port.write(IER, THRI)
    port.write(LCR, DLAB)
    assert (port.read(DLL), port.events) == (0, 0)
    port.write(LCR, 0)
    assert port.receive(1) == b"a"


@pytest.mark.parametrize(
    ("ier", "sent", "overrun", "mcr", "iir"),
    [
        (0x00, 3, False, 0x03, 0xC1),
        (RDI, 0, False, 0, 0xC1),
        (RDI, 1, False, 0, 0xC4),
        (THRI, 0, False, 0, 0xC2),
        (THRI, 1, False, 0, 0xC1),
        (RDI | THRI, 0, False, 0, 0xC2),
        (RDI | THRI, 1, False, 0, 0xC4),
        (RLSI, 1, True, 0, 0xC6),
        (RDI | RLSI, 1, True, 0, 0xC6),
        (RLSI, 1, False, 0, 0xC1),
        (MSI, 0, False, 0x03, 0xC1),
        (0x0F, 0, False, 0x03, 0xC2),
    ],
)
def test_iir(port: Port, ier: int, sent: int, overrun: bool, mcr: int, iir: int) -> None:
    port.write(FCR, 0 if overrun else 1)
    port.write(IER, ier)
    port.write(MCR, mcr)
    port.send(bytes(sent + overrun))
    assert port.read(IIR) == iir


def test_iir_before_the_first_fcr_says_received_data(port: Port) -> None:
    port.write(IER, RDI)
    assert port.read(IIR) == 0xC4  # the trigger level is 0 and a count of 0 has reached it
    port.write(FCR, 1)
    assert port.read(IIR) == 0xC1


def test_overrun_shows_with_the_other_bits_or_ed(port: Port) -> None:
    port.write(FCR, 0)
    port.send(b"ab")
    port.receive(1)
    port.write(IER, RLSI | THRI)
    assert port.read(IIR) == 0xC6
    port.write(IER, RLSI)
    assert port.read(IIR) == 0xC6


@pytest.mark.parametrize(("mcr", "msr"), [(0x00, 0xB3), (0x02, 0xB3), (0x20, 0xA2), (0x22, 0xA2)])
def test_msr_of_a_full_fifo(port: Port, mcr: int, msr: int) -> None:
    port.write(MCR, mcr)
    port.send(bytes(15))
    assert port.read(MSR) == 0xB3
    port.send(bytes(1))
    assert port.read(MSR) == msr


def test_events_of_received_data_come_at_the_trigger_level_only(port: Port) -> None:
    port.write(FCR, 0xC1)  # asks for 14, gets 1
    port.write(IER, RDI)
    assert [port.write(THR, value) for value in range(4)] == [1, 0, 0, 0]
    port.receive(4)
    assert port.write(THR, 0) == 1


def test_before_the_first_fcr_received_data_raise_nothing(port: Port) -> None:
    port.write(IER, RDI)
    assert [port.write(THR, value) for value in range(3)] == [0, 0, 0]


def test_events_of_ier_writes(port: Port) -> None:
    assert port.write(IER, THRI) == 1
    assert port.write(IER, THRI) == 1
    assert port.write(IER, RDI | RLSI | MSI) == 0
    port.send(b"a")
    assert port.write(IER, THRI) == 0


def test_events_of_reading_the_fifo_empty(port: Port) -> None:
    port.send(b"ab")
    port.write(IER, THRI)
    events = []
    for _ in range(3):
        before = port.events
        port.read(RBR)
        events.append(port.events - before)
    assert events == [0, 1, 1]


def test_events_of_overruns(port: Port) -> None:
    port.write(FCR, 0)
    port.write(IER, RLSI)
    assert [port.write(THR, value) for value in range(3)] == [0, 1, 1]
    port.write(IER, RDI)
    assert port.write(THR, 0) == 0


@pytest.mark.parametrize(
    ("ier", "mcr", "events"),
    [(0, 0x0B, 0), (MSI, 0x00, 0), (MSI, 0x04, 0), (MSI, 0x08, 1), (MSI, 0x01, 1), (MSI, 0x02, 1), (MSI, 0x0B, 2)],
)
def test_events_of_mcr_writes(port: Port, ier: int, mcr: int, events: int) -> None:
    port.write(IER, ier)
    assert port.write(MCR, mcr) == events


def test_wide_accesses_are_cut_as_the_kernel_cuts_them() -> None:
    port = Port()
    port.uart.write(SCR, b"\x77")
    port.uart.write(MCR, b"\x11\x22\x33\x44")  # one piece of 4 bytes, whose first counts
    assert (port.read(MCR), port.read(SCR)) == (0x11, 0x77)
    assert port.uart.read(MCR, 4) == b"\x11\0\0\0"
    assert port.uart.read(MSR, 2) == b"\xb3\0"
    assert port.uart.read(LSR, 3) == b"\x60\xb3\0"  # 5 is odd: one byte, then 2 aligned
    assert port.uart.read(0, 8) == b"\0\0\0\0\x11\0\0\0"
    port.uart.write(LCR, b"\x1b\x02\xee\xee\xee")  # LCR alone, then 4 bytes at MCR
    assert (port.read(LCR), port.read(MCR)) == (0x1B, 0x02)
    port.send(b"ab")
    assert port.uart.read(RBR, 2) == b"a\0"
    assert port.receive(1) == b"b"


CONFIG_SPACE = {
    0x00: "48 43 53 32 01 00 00 02 10 02 00 07 00 00 00 00",
    0x10: "01 00 00 00 01 00 00 00 00 00 00 00 00 00 00 00",
    0x20: "00 00 00 00 00 00 00 00 00 00 00 00 48 43 53 32",
    0x30: "00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00",
    0x40: "23 00 00 80 23 00 00 00 23 00 00 00 23 00 00 00",
    0x60: "50 43 49 20 53 65 72 69 61 6c 2f 55 41 52 54 00",
}


@pytest.mark.parametrize("ports", [1, 2])
def test_config_space(ports: int) -> None:
    config = _card(ports).regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX]
    expected = bytearray(256)
    for start, row in CONFIG_SPACE.items():
        expected[start : start + 16] = bytes.fromhex(row)
    expected[0x14] = 1 if ports == 2 else 0
    assert (config.size, config.extent) == (255, 256)
    assert config.read(0, 256) == expected
    assert config.read(0xFE, 1) == b"\0"
    assert config.read(0xFC, 4) == bytes(4)


@pytest.mark.parametrize(
    ("ports", "offset", "written", "read"),
    [
        (2, 0x10, "ffffffff", "f9ffffff"),
        (2, 0x14, "ffffffff", "f9ffffff"),
        (1, 0x14, "ffffffff", "00000000"),
        (2, 0x10, "50c10000", "51c10000"),
        (2, 0x10, "57c10000", "57c10000"),
        (2, 0x14, "58c10000", "59c10000"),
        (1, 0x14, "58c10000", "00000000"),
        (2, 0x10, "00000000", "01000000"),
        (2, 0x10, "feffffff", "ffffffff"),
        (2, 0x18, "ffffffff", "00000000"),
        (2, 0x1C, "ffffffff", "00000000"),
        (2, 0x20, "ffffffff", "00000000"),
        (2, 0x24, "ffffffff", "00000000"),
        (2, 0x30, "00f8ffff", "00000000"),
        (2, 0x04, "07040000", "01000002"),
        (2, 0x06, "ffff", "0002"),
        (2, 0x3C, "0b", "0b"),
        (2, 0x3C, "0b020000", "0b010000"),
        (2, 0x3D, "02", "01"),
        (2, 0x2C, "ffffffff", "48435332"),
        (2, 0x40, "ffffffff", "23000080"),
        (2, 0x11, "ff", "00"),
        (2, 0x00, "ffffffff", "48435332"),
        (2, 0xFE, "ff", "00"),
    ],
)
def test_config_writes(ports: int, offset: int, written: str, read: str) -> None:
    config = _card(ports).regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX]
    before = config.read(0, 256)
    config.write(offset, bytes.fromhex(written))
    size = len(read) // 2
    assert config.read(offset, size).hex() == read
    after = bytearray(config.read(0, 256))
    after[offset : offset + size] = before[offset : offset + size]
    assert after == before


def test_a_wide_config_write_reaches_both_bars() -> None:
    config = _card(2).regions[vfio.VFIO_PCI_CONFIG_REGION_INDEX]
    config.write(0x10, bytes.fromhex("50c1000058c10000"))
    assert config.read(0x10, 8).hex() == "51c1000059c10000"


@pytest.mark.parametrize(("ports", "sizes"), [(1, [8, 0]), (2, [8, 8])])
def test_regions(ports: int, sizes: list[int]) -> None:
    regions = _card(ports).regions
    assert [region.size for region in regions] == [*sizes, 0, 0, 0, 0, 0, 255, 0]
    assert {region.flags for region in regions} == {3}
    assert [region.offset for region in regions] == [index << 40 for index in range(9)]


def _card(ports: int) -> Mtty:
    return Mtty(Mtty.Options(ports=1) if ports == 1 else Mtty.Options(ports=2))
