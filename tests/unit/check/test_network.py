# SPDX-License-Identifier: GPL-2.0-or-later
"""The check network: link, packets, counters and interrupts, each able to fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from passthru.check.context import Context
from passthru.check.finding import Finding, Verdict
from passthru.check.network import Options
from passthru.check.registry import judge
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, PassthruError
from tests.unit.check.harness import Answer, Log, bundle, device

MAC = "52:54:00:12:34:56"
# What busybox printed in a Debian 12 guest with QEMU's igb.
PING = """\
PING 10.0.2.2 (10.0.2.2): 56 data bytes
64 bytes from 10.0.2.2: seq=0 ttl=255 time=3.511 ms

--- 10.0.2.2 ping statistics ---
{sent} packets transmitted, {received} packets received, {more}{loss}% packet loss
round-trip min/avg/max = 0.812/1.334/3.511 ms
"""
INTERRUPTS = """\
           CPU0       CPU1
 24:          0          1   PCI-MSI 524288-edge      eth0
 25:         {0}          3   PCI-MSI 524289-edge      eth0-TxRx-0
 26:         77          7   PCI-MSI 524290-edge      other
"""


def counted(**rise: int) -> str:
    before = dict.fromkeys(("rx_packets", "tx_packets", "rx_bytes", "tx_bytes"), 100)
    errors = dict.fromkeys(("rx_errors", "tx_errors", "rx_dropped", "tx_dropped"), 0)
    return "".join(f"{name} {value + rise.get(name, 0)}\n" for name, value in {**before, **errors}.items())


SOUND = {"rx_packets": 21, "tx_packets": 22, "rx_bytes": 2100, "tx_bytes": 2200}


@dataclass
class WiredGuest:
    """A guest with an interface; ``links`` is what it tells of its link, one look after the other."""

    links: list[str] = field(default_factory=lambda: [f"interface eth0 igb {MAC} 1"])
    files: dict[str, str | bytes] = field(default_factory=dict)
    ends: Answer | Exception | None = None
    ran: list[str] = field(default_factory=list)
    kernel_log: Log = field(default_factory=Log)

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        self.ran.append(command)
        if "ping" not in command:
            link = self.links.pop(0) if len(self.links) > 1 else self.links[0]
            return Answer(f"{link}\n".encode())
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends or bundle(
            {
                "irq": "11 /sys/bus/pci/devices/0000:00:05.0/msi_irqs/24 /sys/x/msi_irqs/25\n",
                "counted.before": counted(),
                "counted.after": counted(**SOUND),
                "interrupts.before": INTERRUPTS.format(5),
                "interrupts.after": INTERRUPTS.format(45),
                "ping": PING.format(sent=20, received=20, more="", loss=0),
                **self.files,
            }
        )


async def found(guest: WiredGuest, **table: Any) -> Finding:
    options = Options.model_validate({"use": "network", "device": "mtty0", "patience": 0.05, **table})
    return await judge(Context(guest, device(), Deadline.after(20)), options)


async def test_packets_that_come_back_and_are_counted_pass() -> None:
    guest = WiredGuest()
    finding = await found(guest, mac=MAC)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == (
        f"eth0 (igb, {MAC}) has its link; 20 packets went to 10.0.2.2 and came back, counted 22 out and 21 in, with 40"
        " interrupts"
    )
    assert "ping -I eth0 -c 20 -i 0.1 -W 5 -s 56 10.0.2.2" in guest.ran[-1]
    assert "ip addr add 10.0.2.15/24 dev eth0" in guest.ran[-1]


async def test_the_interface_and_its_link_may_take_a_moment() -> None:
    guest = WiredGuest(["driver igb", f"interface eth0 igb {MAC}", f"interface eth0 igb {MAC} 0", *WiredGuest().links])
    finding = await found(guest, patience=5.0)
    assert finding.verdict is Verdict.PASSED, finding
    assert len(guest.ran) == 5


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("driver igb", "the driver igb made no network interface of the device at 0000:00:05.0"),
        ("driver ", "without a driver, there is no network interface of the device at 0000:00:05.0"),
        (f"interface eth0 igb {MAC} 0", "eth0 of mtty0 has no link (carrier)"),
    ],
)
async def test_without_an_interface_or_a_link_it_fails(link: str, said: str) -> None:
    log = Log(["igbvf 0000:00:05.0: PF still resetting", "igbvf 0000:00:06.0: another"])
    finding = await found(WiredGuest([link], kernel_log=log))
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, said)
    assert finding.details == ('the guest\'s kernel said "igbvf 0000:00:05.0: PF still resetting"',)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ping": PING.format(sent=20, received=19, more="", loss=5)}, "20 went to 10.0.2.2 and 19 came back"),
        ({"ping": PING.format(sent=20, received=0, more="", loss=100)}, "20 went to 10.0.2.2 and 0 came back"),
        (
            {"ping": PING.format(sent=20, received=20, more="2 duplicates, ", loss=0)},
            "packets came back more than once, 2 duplicates",
        ),
        ({"ping": "ping: sendto: Network is unreachable\n"}, "ping said nothing of packets: ping: sendto: Network"),
        ({"ping": ""}, "ping said nothing of packets: nothing at all"),
        ({"counted.after": counted()}, "tx_packets grew by 0, where 20 to 52 were sent"),
        ({"counted.after": counted(**{**SOUND, "rx_packets": 19})}, "rx_packets grew by 19"),
        ({"counted.after": counted(**{**SOUND, "tx_packets": 53})}, "tx_packets grew by 53"),
        ({"counted.after": counted(**{**SOUND, "rx_bytes": 1959})}, "rx_bytes grew by 1959, where at least 1960"),
        ({"counted.after": counted(**SOUND, tx_errors=1)}, "tx_errors grew by 1"),
        ({"interrupts.after": INTERRUPTS.format(24)}, "grew by 19, which is less than 20: interrupts do not arrive"),
        ({"interrupts.after": INTERRUPTS.format(390)}, "grew by 385, which is more than 384: an interrupt storm"),
        ({"irq": "0\n"}, "/proc/interrupts has no line for the device's interrupt 0"),
    ],
)
async def test_what_is_lost_or_not_counted_fails(files: dict[str, str | bytes], said: str) -> None:
    finding = await found(WiredGuest(files=files))
    assert finding.verdict is Verdict.FAILED
    assert said in "; ".join(finding.details)


async def test_another_hardware_address_fails() -> None:
    finding = await found(WiredGuest(), mac="52:54:00:00:00:01")
    assert (finding.verdict, finding.details) == (
        Verdict.FAILED,
        (f"eth0 has the hardware address {MAC}, where 52:54:00:00:00:01 is expected",),
    )


async def test_dropped_packets_are_told_only() -> None:
    finding = await found(WiredGuest(files={"counted.after": counted(**SOUND, rx_dropped=2)}))
    assert (finding.verdict, finding.details) == (Verdict.PASSED, ("it dropped 2 packets meanwhile",))


async def test_a_guest_that_hangs_with_it_fails() -> None:
    finding = await found(WiredGuest(ends=DeadlineExceeded("the guest command", 9.0)))
    assert (finding.verdict, "mtty0 hangs" in finding.summary) == (Verdict.FAILED, True)


@pytest.mark.parametrize(
    "guest",
    [
        WiredGuest(ends=Answer(b"", b"ip: RTNETLINK answers: Operation not permitted\n", 2)),
        WiredGuest(files={"counted.after": "rx_packets x\n"}),
        WiredGuest(["nonsense"]),
    ],
)
async def test_what_the_guest_does_not_do_or_say_is_no_verdict(guest: WiredGuest) -> None:
    with pytest.raises(PassthruError):
        await found(guest)


async def test_without_ping_it_is_skipped() -> None:
    finding = await found(WiredGuest(ends=Answer(b"", b"sh: ping: not found\n", 127)))
    assert finding.verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    "wrong",
    [
        {"packets": 0},
        {"bytes": 1473},
        {"address": "10.0.2.15"},
        {"address": "10.0.2.256/24"},
        {"peer": "localhost; reboot"},
        {"mac": "52:54:00:12:34"},
        {"mac": MAC.replace("5", "F")},
    ],
)
def test_options_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "network", "device": "d", **wrong})
