# SPDX-License-Identifier: GPL-2.0-or-later
"""``network``: the interface behind the device gets its link, and packets go out, come back and are counted.

An address is set and a neighbour is pinged: by default the gateway of QEMU's user network, which answers by itself, so
that nothing leaves the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from passthru.check import bundle
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.interrupts import irq_numbers, lines
from passthru.check.options import DeviceCheckOptions
from passthru.check.presence import until
from passthru.errors import DeadlineExceeded, PassthruError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.check.context import Context

_NUMBER = r"(25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = rf"{_NUMBER}(\.{_NUMBER}){{3}}"
_INTERVAL = 0.1
"""Seconds between two packets: more than a driver moderates its interrupts by, so that each answer raises one."""
_OTHERS = 32
"""Packets that are not ours: neighbours are looked for, by IPv6 too."""
_MOST_A_PACKET = 16
_MOST_BESIDES = 64
_SHOWN = 3
_HEADERS = 14 + 20 + 8  # Ethernet, IPv4, ICMP
_SUMMARY = re.compile(r"(?P<sent>\d+) packets transmitted, (?P<received>\d+) packets received(?P<more>[^\n]*)")
_COUNTERS = ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped")


class Options(DeviceCheckOptions):
    """A check with ``use = "network"``."""

    use: Literal["network"]
    packets: int = Field(default=20, ge=1, le=1000)
    """Echo requests that are sent; each must be answered."""
    bytes: int = Field(default=56, ge=0, le=1472)
    """Bytes in each of them."""
    address: Annotated[str, StringConstraints(pattern=rf"^{_IPV4}/(3[0-2]|[12]?\d)$")] = "10.0.2.15/24"
    """The interface's own address meanwhile, and the length of its network's prefix."""
    peer: Annotated[str, StringConstraints(pattern=rf"^{_IPV4}$")] = "10.0.2.2"
    """Who answers; the default is the gateway of QEMU's user network."""
    mac: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")] | None = None
    """The hardware address that the interface must have."""
    at_least: int | None = Field(default=None, ge=1)
    """The smallest plausible number of interrupts; by default one for each packet."""
    at_most: int | None = Field(default=None, ge=1)
    """The largest plausible number of interrupts; by default 16 for each packet, and 64 for all else."""
    patience: float = Field(default=8.0, gt=0)
    """Seconds until the interface is there and has its link (stretched where the guest is emulated)."""
    timeout: float = Field(default=60.0, gt=0)
    """Seconds that the check may take at most (stretched where the guest is emulated)."""


@dataclass(frozen=True)
class _Interface:
    """The interface as the guest's sysfs has it; ``name`` is empty where there is none."""

    name: str
    driver: str
    mac: str
    carrier: bool


async def judge(context: Context, options: Options) -> Finding:
    """Bring the interface up, exchange packets, and hold the counters against them."""
    device = context.the_device
    seen = _Interface("", "", "", carrier=False)

    async def missing() -> list[str]:
        nonlocal seen
        seen = await _up(context, device.address)
        if not seen.name:
            by = f"the driver {seen.driver} made" if seen.driver else "without a driver, there is"
            return [f"{by} no network interface of the device at {device.address}"]
        return [] if seen.carrier else [f"{seen.name} of {device.id} has no link (carrier)"]

    try:
        if wrong := await until(missing, context.deadline.narrowed(options.patience)):
            said = [line for line in context.guest.kernel_log.lines if device.address in line][-_SHOWN:]
            details = tuple(f'the guest\'s kernel said "{line}"' for line in said)
            return Finding(Verdict.FAILED, wrong[0], details, {"interface": seen.name, "mac": seen.mac})
        files = await _exchange(context, options, seen.name)
    except DeadlineExceeded as error:
        return Finding(
            Verdict.FAILED,
            f"{device.id} hangs: its interface did not come up and send within {error.seconds:.1f} s",
            error.last_lines,
        )
    return _finding(context, options, seen, files)


async def _up(context: Context, address: str) -> _Interface:
    """The device's interface, brought up where there is one."""
    completed = await context.run(
        f"""\
node=/sys/bus/pci/devices/{address}
driver=$(readlink $node/driver)
for net in $node/net/* $node/*/net/*; do [ ! -e "$net" ] || break; done
[ -e "$net" ] || {{ echo "driver ${{driver##*/}}"; exit 0; }}
name=${{net##*/}}
ip link set "$name" up || exit
echo "interface $name ${{driver##*/}} $(cat "$net/address") $(cat "$net/carrier")" """,
        needs=["ip", "readlink"],
    )
    said = completed.stdout.decode(errors="replace").split()
    match said:
        case ["driver", *driver]:
            return _Interface("", "".join(driver), "", carrier=False)
        case ["interface", name, driver, mac, *carrier]:
            return _Interface(name, driver, mac, carrier == ["1"])
    errors = completed.stderr.decode(errors="replace").strip() or "nothing"
    raise PassthruError(f"the guest's look at the interface of {address} printed {said}, and said {errors}")


async def _exchange(context: Context, options: Options, name: str) -> dict[str, bytes]:
    """Ping, between two looks at the counters; afterwards the interface is down and without an address again."""
    node, net = f"/sys/bus/pci/devices/{context.the_device.address}", f"/sys/class/net/{name}"
    look = f'{{ for each in {" ".join(_COUNTERS)}; do echo "$each $(cat {net}/statistics/$each)"; done; }}'
    # Some drivers count for good only now and then: the last look waits until the packets are counted, for 5 s at most.
    completed = await context.run(
        f"""\
{bundle.BEGIN}ip addr flush dev {name} && ip addr add {options.address} dev {name} || exit
read -r irq <{node}/irq; echo "$irq" {node}/msi_irqs/* >irq
{look} >counted.before; cat /proc/interrupts >interrupts.before
ping -I {name} -c {options.packets} -i {_INTERVAL} -W 5 -s {options.bytes} {options.peer} >ping 2>&1
cat /proc/interrupts >interrupts.after
{{ read -r word received; read -r word sent; }} <counted.before
for try in 0 1 2 3 4 5 6 7 8 9; do
  {look} >counted.after
  {{ read -r word in; read -r word out; }} <counted.after
  [ $((in - received)) -lt {options.packets} ] || [ $((out - sent)) -lt {options.packets} ] || break
  sleep 0.5
done
ip addr flush dev {name}; ip link set {name} down
{bundle.END}""",
        needs=["ip", "ping", "stat"],
    )
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip() or "nothing"
        raise PassthruError(f"the address {options.address} cannot be set on {name} in the guest: {said}")
    return bundle.parse(completed.stdout)


def _finding(context: Context, options: Options, seen: _Interface, files: Mapping[str, bytes]) -> Finding:
    ping = files["ping"].decode(errors="replace")
    before, after = _counted(files["counted.before"]), _counted(files["counted.after"])
    rise = {name: after[name] - before[name] for name in _COUNTERS}
    numbers = irq_numbers(files["irq"].decode())
    growth, named = _growth(files, numbers)
    wrong = []
    if options.mac is not None and seen.mac != options.mac:
        wrong.append(f"{seen.name} has the hardware address {seen.mac}, where {options.mac} is expected")
    wrong += _lost(options, ping)
    wrong += _miscounted(options, rise)
    least = options.at_least or options.packets
    most = options.at_most or _MOST_A_PACKET * options.packets + _MOST_BESIDES
    if not named:
        wrong.append(f"/proc/interrupts has no line for the device's interrupt {_listed(numbers)}")
    elif growth < least:
        wrong.append(f"{named} grew by {growth}, which is less than {least}: interrupts do not arrive")
    elif growth > most:
        wrong.append(f"{named} grew by {growth}, which is more than {most}: an interrupt storm")
    dropped = rise["rx_dropped"] + rise["tx_dropped"]
    return judged(
        wrong,
        passed=f"{seen.name} ({seen.driver}, {seen.mac}) has its link; {options.packets} packets went to {options.peer}"
        f" and came back, counted {rise['tx_packets']} out and {rise['rx_packets']} in, with {growth} interrupts",
        failed=f"{seen.name} of {context.the_device.id}",
        told=[f"it dropped {dropped} packets meanwhile"] if dropped else [],
        facts={
            "interface": seen.name,
            "driver": seen.driver,
            "mac": seen.mac,
            "rise": rise,
            "interrupts": growth,
            "ping": ping.splitlines(),
        },
    )


def _lost(options: Options, ping: str) -> list[str]:
    found = _SUMMARY.search(ping)
    if found is None:
        return [f"ping said nothing of packets: {' '.join(ping.split())[:200] or 'nothing at all'}"]
    sent, received, more = int(found["sent"]), int(found["received"]), found["more"]
    wrong = []
    if sent != options.packets or received != options.packets:
        wrong.append(f"of {options.packets} packets {sent} went to {options.peer} and {received} came back")
    if "duplicates" in more:
        wrong.append(f"packets came back more than once{more.rstrip()}")
    return wrong


def _miscounted(options: Options, rise: Mapping[str, int]) -> list[str]:
    wrong = []
    for way, told in (("tx", "sent"), ("rx", "received")):
        packets, data = rise[f"{way}_packets"], rise[f"{way}_bytes"]
        if not options.packets <= packets <= options.packets + _OTHERS:
            wrong.append(
                f"{way}_packets grew by {packets}, where {options.packets} to {options.packets + _OTHERS} were {told}"
            )
        if data < (least := options.packets * (options.bytes + _HEADERS)):
            wrong.append(f"{way}_bytes grew by {data}, where at least {least} were {told}")
        if errors := rise[f"{way}_errors"]:
            wrong.append(f"{way}_errors grew by {errors}")
    return wrong


def _counted(text: bytes) -> dict[str, int]:
    try:
        found = {name: int(number) for name, number in (line.split() for line in text.decode().splitlines())}
        return {name: found[name] for name in _COUNTERS}
    except (ValueError, KeyError) as error:
        raise PassthruError(f"the guest's counters of the interface cannot be read: {text[:200]!r}") from error


def _growth(files: Mapping[str, bytes], numbers: frozenset[int]) -> tuple[int, str]:
    """By how much all interrupts of the device grew, and what they are; "" where there are none."""
    before = lines(files["interrupts.before"].decode(), numbers)
    after = lines(files["interrupts.after"].decode(), numbers)
    grown = sum(count for count, _ in after.values()) - sum(count for count, _ in before.values())
    named = "; ".join(f"interrupt {number} ({name})" for number, (_, name) in after.items())
    return grown, named


def _listed(numbers: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(numbers))) or "(it has none)"
