# SPDX-License-Identifier: GPL-2.0-or-later
"""Comparing the lspci listing of a device with the expected one: what varies by nature is named, the rest compared."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.check.lspci_listing import FLAG_FIELDS, Listing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

ADDED_FIELDS = ("DeviceName", "IOMMU group", "Kernel modules", "Latency", "NUMA node", "Physical Slot")
"""Lines that depend on the guest's machine or on the age of lspci; they may be there without being expected."""

_NUMERIC_NAME = re.compile(r"Device (?:[0-9a-f]{4}(?::[0-9a-f]{4})?)")
_HEADER_TYPE = 0x0E
_BARS = range(0x10, 0x28)
_ROM = range(0x30, 0x34)
_INTERRUPT_LINE = 0x3C


@dataclass
class Comparison:
    """``wrong`` are mismatches, ``varies`` differences (or freedoms) by nature; ``compared`` counts what was equal."""

    wrong: list[str] = field(default_factory=list)
    varies: list[str] = field(default_factory=list)
    compared: int = 0

    def equal(self, what: str, expected: object, got: object) -> None:
        """Compare one thing; a mismatch says what, expected and got."""
        if expected == got:
            self.compared += 1
        else:
            self.wrong.append(f"{what}: expected {_shown(expected)}, got {_shown(got)}")


def compare(expected: Listing, got: Listing, *, slot: str, free: Collection[int] = ()) -> Comparison:
    """Compare two listings of one device, which should sit in ``slot`` (``00:05.0``).

    ``free`` are offsets of the configuration space that vary by the user's own word.
    """
    result = Comparison()
    _header(expected, got, slot, result)
    _fields(expected, got, result)
    for name in FLAG_FIELDS:
        _flags(name, expected.flags.get(name, {}), got.flags.get(name, {}), result)
    _regions(expected, got, result)
    _capabilities(expected, got, result)
    _config(expected, got, set(free), result)
    for line in got.unread:
        if line not in expected.unread:
            result.wrong.append(f'a line that no listing of a sound device has: "{line}"')
    return result


def _header(expected: Listing, got: Listing, slot: str, result: Comparison) -> None:
    result.equal("slot", slot, got.slot.removeprefix("0000:"))
    result.equal("class", expected.class_name, got.class_name)
    result.equal("revision", expected.revision, got.revision)
    result.equal("programming interface", expected.interface, got.interface)
    _name("device name", expected.name, got.name, _ids_compared(expected, got), result)


def _name(what: str, expected: str | None, got: str | None, ids_compared: bool, result: Comparison) -> None:
    """Compare a name from pci.ids; it may be newer than the expected one as long as the numbers are compared."""
    tolerable = got is not None and expected is not None and ids_compared
    if expected != got and tolerable and not _NUMERIC_NAME.fullmatch(got or ""):
        result.varies.append(f'{what}: "{got}" by this guest\'s pci.ids, "{expected}" in the expected listing')
    else:
        result.equal(what, expected, got)


def _ids_compared(expected: Listing, got: Listing) -> bool:
    """Whether both hexdumps hold the vendor, device and subsystem numbers, so that names need not agree."""
    return all(offset in dump for dump in (expected.config, got.config) for offset in (*range(4), *range(0x2C, 0x30)))


def _fields(expected: Listing, got: Listing, result: Comparison) -> None:
    for key, value in expected.fields.items():
        found = got.fields.get(key)
        if key == "Subsystem":
            _name(key, value, found, _ids_compared(expected, got), result)
        elif key == "Interrupt":
            _interrupt(value, found, result)
        elif key == "Physical Slot":
            result.varies.append(f"{key}: {found or 'none'}, as the guest's firmware numbers slots")
        else:
            result.equal(key, value, found)
    for key, value in got.fields.items():
        if key not in expected.fields:
            if key in ADDED_FIELDS:
                result.varies.append(f"{key}: {value}, which the expected listing does not have")
            else:
                result.equal(key, None, value)


def _interrupt(expected: str, got: str | None, result: Comparison) -> None:
    routed = re.compile(r" routed to IRQ -?\d+")
    result.equal("Interrupt", routed.sub("", expected), routed.sub("", got) if got is not None else None)
    if got is not None and bool(routed.search(expected)) != bool(routed.search(got)):
        result.wrong.append(f'Interrupt: expected a routed IRQ as in "{expected}", got "{got}"')
    elif got is not None:
        result.varies.append(f"Interrupt: {got}, the number as the guest routes it")


def _flags(name: str, expected: dict[str, str], got: dict[str, str], result: Comparison) -> None:
    for flag, value in expected.items():
        found = got.get(flag)
        result.equal(f"{name} {flag}", flag + value, None if found is None else flag + found)
    for flag, value in got.items():
        if flag not in expected:
            if value == "-":
                result.varies.append(f"{name}: {flag}{value}, which the expected listing does not have")
            else:
                result.equal(f"{name} {flag}", None, flag + value)


def _regions(expected: Listing, got: Listing, result: Comparison) -> None:
    for key in sorted({*expected.regions, *got.regions}):
        wanted, found = expected.regions.get(key), got.regions.get(key)
        result.equal(key, wanted and wanted.nature, found and found.nature)
        if wanted is None or found is None:
            continue
        if (wanted.address is None) != (found.address is None):
            result.wrong.append(f"{key}: {'no ' if found.address is None else 'an unexpected '}address is assigned")
        elif found.address is not None:
            result.varies.append(f"{key}: at {found.address:x}, as the guest assigned it")


def _capabilities(expected: Listing, got: Listing, result: Comparison) -> None:
    found = {capability.text: capability.lines for capability in got.capabilities}
    for wanted in expected.capabilities:
        if wanted.text not in found:
            result.equal("Capabilities", wanted.text, ", ".join(found) or None)
            continue
        result.compared += 1
        lines = found.pop(wanted.text)
        for line in wanted.lines:
            result.equal(f"Capabilities {wanted.text}", line, line if line in lines else "; ".join(lines) or None)
    for text in found:
        if text not in {capability.text for capability in expected.capabilities}:
            result.equal("Capabilities", None, text)


def _config(expected: Listing, got: Listing, free: set[int], result: Comparison) -> None:
    ordinary = (expected.config.get(_HEADER_TYPE, 0) & 0x7F) == 0
    registers = _address_registers(expected.config) if ordinary else []
    in_registers = {offset for start, size in registers for offset in range(start, start + size)}
    for offset, value in expected.config.items():
        found = got.config.get(offset)
        if offset in free:
            result.varies.append(f"config {offset:02x}: {_byte(found)}, as the scenario says")
        elif offset in in_registers and found is not None:
            continue
        elif offset == _INTERRUPT_LINE and found is not None:
            result.varies.append(f"config {offset:02x} (interrupt line): {_byte(found)}, as the guest routes it")
        else:
            result.equal(f"config {offset:02x}", _byte(value), _byte(found))
    if not got.config:
        return
    for start, size in registers:
        if not free.intersection(range(start, start + size)):
            _address_register(start, size, expected, got, result)


def _address_registers(config: dict[int, int]) -> Iterator[tuple[int, int]] | list[tuple[int, int]]:
    """Offset and size in bytes of the base address registers that the expected dump holds, the ROM's included."""
    registers = []
    offset = _BARS.start
    while offset < _BARS.stop and offset + 3 in config:
        wide = config[offset] & 0b111 == 0b100 and offset + 7 < _BARS.stop
        registers.append((offset, 8 if wide else 4))
        offset += 8 if wide else 4
    if _ROM.stop - 1 in config:
        registers.append((_ROM.start, 4))
    return registers


def _address_register(start: int, size: int, expected: Listing, got: Listing, result: Comparison) -> None:
    """An address register: its flag bits are compared, its address only for being there and being the region's."""
    wanted, found = _number(expected.config, start, size), _number(got.config, start, size)
    if wanted is None or found is None:
        return  # told byte by byte already
    where = f"config {start:02x}"
    flags = 0x7FF if start == _ROM.start else 0x3 if wanted & 1 else 0xF
    result.equal(f"{where} (flag bits)", f"{wanted & flags:x}", f"{found & flags:x}")
    if (wanted & ~flags == 0) != (found & ~flags == 0):
        result.wrong.append(
            f"{where}: expected {'no' if wanted & ~flags == 0 else 'an'} address, got {found:0{size * 2}x}"
        )
        return
    if found & ~flags:
        result.varies.append(f"{where}: {found:0{size * 2}x}, an address as the guest assigned it")
    key = "Expansion ROM" if start == _ROM.start else f"Region {(start - _BARS.start) // 4}"
    region = got.regions.get(key)
    if region is not None and region.address is not None and region.address != found & ~flags:
        result.wrong.append(
            f"{where}: holds the address {found & ~flags:x}, but lspci tells {key} at {region.address:x}"
        )


def _number(config: dict[int, int], start: int, size: int) -> int | None:
    if any(offset not in config for offset in range(start, start + size)):
        return None
    return int.from_bytes(bytes(config[offset] for offset in range(start, start + size)), "little")


def _byte(value: int | None) -> str | None:
    return None if value is None else f"{value:02x}"


def _shown(value: object) -> str:
    return "nothing" if value is None else f'"{value}"'
