# SPDX-License-Identifier: GPL-2.0-or-later
"""``setserial``: the guest's driver found the device's UARTs, where the device's registers are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationInfo, field_validator

from passthru.check.expected import adapted, refuse_idle_variants
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.options import DeviceCheckOptions, Variant
from passthru.check.serial_traffic import tty_patterns
from passthru.errors import PassthruError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.check.context import Context

_LINE = re.compile(
    r"/dev/(?P<name>tty\w+), UART: (?P<uart>[^,]+), Port: 0x(?P<port>[0-9a-f]+), IRQ: (?P<irq>\d+)(?:, .*)?"
)
_KERNEL_LINE = re.compile(r": (?P<name>ttyS\d+) at I/O 0x(?P<port>[0-9a-f]+) \(irq = (?P<irq>\d+)")
_ISA_PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
_IORESOURCE_IO = 0x100


@dataclass(frozen=True)
class Uart:
    """One line of ``setserial -g``."""

    name: str
    uart: str
    port: int
    irq: int


def parse(text: str) -> tuple[Uart, ...]:
    """The lines of ``setserial -g``; what is no such line is left out."""
    found = (_LINE.fullmatch(line.strip()) for line in text.splitlines())
    return tuple(Uart(m["name"], m["uart"], int(m["port"], 16), int(m["irq"])) for m in found if m)


class Options(DeviceCheckOptions):
    """A check with ``use = "setserial"``."""

    use: Literal["setserial"]
    expect: str
    """What ``setserial -g /dev/ttyS*`` prints, as the kernel's documents show it."""
    variant: tuple[Variant, ...] = ()
    """How the lines change with the device's options."""

    @field_validator("expect")
    @classmethod
    def _readable(cls, text: str) -> str:
        if not any(uart.port not in _ISA_PORTS for uart in parse(text)):
            raise ValueError("holds no line of setserial for a port of the device (/dev/ttyS1, UART: ..., Port: ...)")
        return text

    @field_validator("variant")
    @classmethod
    def _finding_lines(cls, variants: tuple[Variant, ...], info: ValidationInfo) -> tuple[Variant, ...]:
        refuse_idle_variants(str(info.data.get("expect", "")).splitlines(), variants)
        return variants


async def judge(context: Context, options: Options) -> Finding:
    """Compare type and number of the UARTs, and hold their ports and interrupts against the device's own."""
    device = context.the_device
    node = f"/sys/bus/pci/devices/{device.address}"
    # Ports that nobody uses make setserial complain of each; only its lines count, so its status does not.
    completed = await context.run(
        f"""\
command -v setserial >/dev/null || {{ echo setserial: not found >&2; exit 127; }}
for node in {tty_patterns(device.address)}; do [ -e "$node" ] && echo "${{node##*/}}"; done
echo
cat {node}/irq {node}/resource || exit
echo
setserial -g /dev/ttyS*
:""",
        needs=["setserial"],
    )
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip()
        return Finding(Verdict.FAILED, f"the guest does not know the device at {device.address}: {said}")
    names, irq, resource, listing = _sections(completed.stdout.decode(errors="replace"))
    listed = parse(listing)
    expected = parse("\n".join(adapted(options.expect.splitlines(), options.variant, device)))
    wrong = [*_others(expected, listed), *_ports(expected, listed, names)]
    own = [uart for uart in listed if uart.name in names]
    wrong += _where(own, resource, irq)
    wrong += _kernel_log(own, [line for line in context.guest.kernel_log.lines if f"{device.address}: " in line])
    shown = ", ".join(f"{uart.name} ({uart.uart} at {uart.port:#x}, interrupt {uart.irq})" for uart in own)
    return judged(
        wrong,
        passed=f"setserial shows the device's ports: {shown}",
        failed="setserial does not show what is expected",
        facts={
            "listing": listing.splitlines(),
            "varies": [
                f"{uart.name}: port {uart.port:#x} and interrupt {uart.irq} as the guest assigned them" for uart in own
            ],
        },
    )


def _sections(output: str) -> tuple[list[str], int, str, str]:
    """The script's three paragraphs: the device's ttyS, its interrupt and regions, and what setserial printed."""
    try:
        names, device, listing = f"\n{output}".split("\n\n", 2)
        irq, _, resource = device.partition("\n")
        return names.split(), int(irq), resource, listing
    except ValueError as error:
        raise PassthruError(f"a check's script in the guest printed something unreadable: {output[:200]!r}") from error


def _others(expected: Sequence[Uart], listed: Sequence[Uart]) -> list[str]:
    """The machine's own ports, such as ttyS0: expected ones are there just so; additional ones do not matter."""
    wrong = []
    for uart in expected:
        if uart.port in _ISA_PORTS and uart not in listed:
            got = next(
                (f"{other.uart}, {other.port:#x}, {other.irq}" for other in listed if other.name == uart.name), "none"
            )
            wrong.append(f"{uart.name}: expected {uart.uart}, {uart.port:#x}, {uart.irq}, got {got}")
    return wrong


def _ports(expected: Sequence[Uart], listed: Sequence[Uart], names: Sequence[str]) -> list[str]:
    """The device's ports in their order: their number and the type of each; ttyS numbers depend on the guest."""
    wanted = [uart for uart in expected if uart.port not in _ISA_PORTS]
    by_name = {uart.name: uart for uart in listed}
    wrong = []
    if len(names) != len(wanted):
        wrong.append(f"ports of the device: expected {len(wanted)}, got {len(names)} ({', '.join(names) or 'none'})")
    for name, uart in zip(names, wanted, strict=False):
        found = by_name.get(name)
        if found is None:
            wrong.append(f"{name}: setserial does not list it, though the device has it")
        elif found.uart != uart.uart:
            wrong.append(f"{name}: expected UART {uart.uart}, got {found.uart}")
    return wrong


def _where(own: Sequence[Uart], resource: str, irq: int) -> list[str]:
    """Ports lie in the device's I/O regions (at their beginnings, if there is one for each) and share no address."""
    ranges = [tuple(int(word, 16) for word in line.split()) for line in resource.splitlines()]
    regions = [(first, last) for first, last, flags in ranges if flags & _IORESOURCE_IO]
    starts = [first for first, _ in regions]
    wrong = []
    for uart in own:
        shown = ", ".join(f"{first:#x}-{last:#x}" for first, last in regions) or "none"
        if len(regions) >= len(own):
            right = uart.port in starts
        else:
            right = any(first <= uart.port <= last for first, last in regions)
        if not right:
            wrong.append(f"{uart.name}: its port {uart.port:#x} is not where the device's I/O regions are ({shown})")
        if [other.port for other in own].count(uart.port) > 1:
            wrong.append(f"{uart.name}: shares its port {uart.port:#x} with another port of the device")
        if uart.irq != irq:
            wrong.append(f"{uart.name}: its interrupt is {uart.irq}, but the device's is {irq}")
    return wrong


def _kernel_log(own: Sequence[Uart], log: Sequence[str]) -> list[str]:
    """What the kernel said on its console when it found the ports, as far as it said so, agrees."""
    found = (_KERNEL_LINE.search(line) for line in log)
    said = {match["name"]: (int(match["port"], 16), int(match["irq"])) for match in found if match}
    return [
        f"{uart.name}: at {uart.port:#x} with interrupt {uart.irq}, but the kernel's log says {said[uart.name][0]:#x}"
        f" and {said[uart.name][1]}"
        for uart in own
        if uart.name in said and said[uart.name] != (uart.port, uart.irq)
    ]
