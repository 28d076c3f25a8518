# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices out of and into running guests, and guests that reboot with devices attached; and each way to go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command, Ended

MODELS = """
import os, signal, socket
from dataclasses import dataclass
from passthru.emulation.model import Model
from passthru.emulation.models.mtty import Mtty
from passthru.emulation.pci import PciId, PciModel
from passthru.emulation.regions import Region


class Mortal(Mtty):
    '''Its server dies as soon as it is out.'''

    def unplugged(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Deaf(Mtty):
    '''Its server listens no more once it is out.'''

    def unplugged(self) -> None:
        super().unplugged()
        for name in os.listdir("/proc/self/fd"):
            try:
                with socket.socket(fileno=os.dup(int(name))) as found:
                    if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                        found.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Counter(Region):
    '''Counts the resets of its device.'''

    resets = 0

    def read(self, offset: int, count: int) -> bytes:
        return self.resets.to_bytes(8, "little")[:count]


class Resettable(PciModel):
    def __init__(self, options: Model.Options) -> None:
        self.counter = Counter(size=0x1000)
        super().__init__(options, PciId(vendor=0x5054, device=0x0002), bars={0: self.counter})

    def reset(self) -> None:
        super().reset()
        self.counter.resets += 1
"""

RESETS = """
[check.{name}]
use = "command"
device = "bell"
command = '''cd /sys/bus/pci/devices/{{address}} && echo 1 >enable && read -r bar rest <resource && devmem $bar 32'''
matches = '{pattern}'
"""


def scenario(directory: Path, model: str, checks: str, *, device: str = "mtty0", head: str = "") -> str:
    """The path of a scenario with one device of the models above."""
    (directory / "models.py").write_text(MODELS)
    text = f'{head}\n[device.{device}]\nbus = "vfio-user"\nmodel = "{model}"\n{checks}'
    path = directory / "scenario.toml"
    path.write_text(text)
    return str(path)


def only(ended: Ended, check: str) -> tuple[str, str]:
    """The verdict and the summary of one check."""
    finding = ended.findings()[check]
    return finding["verdict"], finding["summary"]


def test_mtty_comes_and_goes_ten_times_with_traffic(passthru: Command) -> None:
    ended = passthru("run", "mtty-hotplug")
    assert ended.status == 0, ended
    finding = ended.findings()["hotplug"]
    assert "10 times (ttyS1, ttyS2), then loopback passed" in finding["summary"]
    rounds = finding["facts"]["rounds"]
    assert [each["then"] for each in rounds] == [{"loopback": "passed"}] * 10
    assert all(sorted(each["seen"]["parts"]) == ["tty ttyS1", "tty ttyS2"] for each in rounds)
    log = (ended.directory / "qmp.log").read_text()
    assert log.count('"DEVICE_DELETED"') == 10
    trace = passthru("trace", str(ended.directory))
    assert trace.stdout.count("client connected") == 11


def test_mtty_is_judged_again_after_each_kind_of_reboot(passthru: Command) -> None:
    ended = passthru("run", "mtty-reboot")
    assert ended.status == 0, ended
    for check in ("reboot", "reset"):
        (each,) = ended.findings()[check]["facts"]["rounds"]
        assert set(each["then"]) >= {"lspci", "dmesg", "setserial", "loopback", "interrupts"}
        assert set(each["then"].values()) == {"passed"}
    assert (ended.directory / "ttyS0.log").read_text().count("Linux version ") == 3
    # mtty has no reset: what it sees of one is that its interrupt is disabled, and no DEVICE_RESET.
    trace = passthru("trace", str(ended.directory)).stdout
    assert trace.count("client connected") == 1
    assert trace.count("> DEVICE_SET_IRQS") >= 6
    assert "DEVICE_RESET" not in trace
    log = (ended.directory / "qmp.log").read_text().splitlines()
    assert '"reboot": "shutdown"' in next(line for line in reversed(log) if "set-action" in line)


def test_the_model_sees_its_resets(passthru: Command, tmp_path: Path) -> None:
    before = RESETS.format(name="before", pattern="^0x00000001$")
    after = RESETS.format(name="after", pattern="^0x0000000[2-9]$")
    reboot = '[check.reboot]\nuse = "reboot"\nhow = "reset"\ndevice = "bell"\ndriver = ""\nthen = []\n'
    ended = passthru("run", scenario(tmp_path, "models.py:Resettable", before + reboot + after, device="bell"))
    assert ended.status == 0, ended
    assert passthru("trace", str(ended.directory)).stdout.count("> DEVICE_RESET") >= 2


def test_a_driver_that_is_not_bound_again_fails(passthru: Command, tmp_path: Path) -> None:
    bind = """
[check.{name}]
use = "command"
device = "bell"
command = '''
cd /sys/bus/pci/devices/{{address}} && echo uio_pci_generic >driver_override &&
echo {{address}} >/sys/bus/pci/drivers_probe && readlink driver'''
matches = "/uio_pci_generic$"
"""
    checks = (
        bind.format(name="bind")
        + '[check.hotplug]\nuse = "hotplug"\ndevice = "bell"\npatience = 0.5\n'
        + bind.format(name="bind-again")
        + '[check.reboot]\nuse = "reboot"\ndevice = "bell"\nthen = []\n'
    )
    head = '[guest]\nmodules = ["uio_pci_generic"]\n'
    ended = passthru("run", scenario(tmp_path, "models.py:Resettable", checks, device="bell", head=head))
    assert ended.status == 1, ended
    unbound = "the guest sees 0000:00:05.0 again, but no driver is bound to it (wanted: uio_pci_generic)"
    assert only(ended, "hotplug") == ("failed", f"round 1 of 10: {unbound}")
    assert only(ended, "bind-again")[0] == "passed"
    assert only(ended, "reboot") == ("failed", f"after the reboot, {unbound}")


HOTPLUG = '[check.hotplug]\nuse = "hotplug"\ndevice = "mtty0"\nrounds = 2\n'


def test_a_device_without_its_driver_is_not_taken_out(passthru: Command, tmp_path: Path) -> None:
    head = '[guest]\ncmdline = "initcall_blacklist=serial_pci_driver_init"\n'
    ended = passthru("run", scenario(tmp_path, "mtty", HOTPLUG, head=head))
    assert ended.status == 1, ended
    told = "the guest sees it at 0000:00:05.0, but no driver is bound to it (one is expected)"
    assert only(ended, "hotplug") == ("failed", f"mtty0 was not taken out: {told}")


@pytest.mark.parametrize(("subject", "status"), [("device", 1), ("guest-kernel", 125)])
def test_the_device_server_dies_while_its_device_is_out(
    passthru: Command, tmp_path: Path, subject: str, status: int
) -> None:
    ended = passthru("run", scenario(tmp_path, "models.py:Mortal", HOTPLUG, head=f'subject = ["{subject}"]'))
    assert ended.status == status, ended
    assert "the device server mtty0 was killed by SIGKILL" in only(ended, "hotplug")[1]


def test_a_server_that_refuses_to_be_connected_again(passthru: Command, tmp_path: Path) -> None:
    ended = passthru("run", scenario(tmp_path, "models.py:Deaf", HOTPLUG))
    assert ended.status == 1, ended
    verdict, summary = only(ended, "hotplug")
    assert verdict == "failed"
    assert summary.startswith("round 1 of 2: mtty0 cannot be put back: QEMU refused the command device_add: ")
    assert "Connection refused" in summary
    assert "mtty0 is out of the guest since" in ended.findings()["hotplug"]["details"]


def test_a_guest_that_does_not_let_go(passthru: Command, tmp_path: Path) -> None:
    head = '[guest]\ncmdline = "acpiphp.disable=1"\n'
    ended = passthru("run", scenario(tmp_path, "mtty", f"{HOTPLUG}patience = 0.5\n", head=head))
    assert ended.status == 1, ended
    verdict, summary = only(ended, "hotplug")
    assert verdict == "failed"
    assert summary.startswith("round 1 of 2: the guest did not let mtty0 go in ")
    (words,) = ended.findings()["hotplug"]["details"]
    assert words.startswith("the guest's kernel said meanwhile: ")


LOOK = """
from passthru.check.finding import Finding, Verdict
from passthru.check.options import DeviceCheckOptions as Options
from passthru.check.presence import left_behind, look


async def judge(context, options):
    address = context.the_device.address
    now = await look(context, address)
    left = await left_behind(context, address, now)
    return Finding(Verdict.PASSED, "looked", facts={**now.told(), "left": left})
"""


def test_what_a_device_would_leave_behind_is_seen_while_it_is_there(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    ended = passthru("run", scenario(tmp_path, "mtty", '[check.look]\nuse = "look.py"\ndevice = "mtty0"\n'))
    assert ended.status == 0, ended
    facts = ended.findings()["look"]["facts"]
    assert facts["identity"] == "0x4348:0x3253 class 0x070002"
    assert facts["driver"] == "serial"
    assert facts["parts"] == ["tty ttyS1", "tty ttyS2"]
    device, *rest = facts["left"]
    assert device == "/sys/bus/pci/devices/0000:00:05.0"
    assert rest[:2] == ["/sys/class/tty/ttyS1", "/sys/class/tty/ttyS2"]
    assert sum(line.startswith("/proc/ioports:") for line in rest) == 2


def test_a_bus_without_hot_plug_is_a_skip_that_names_it(passthru: Command, tmp_path: Path) -> None:
    file = scenario(tmp_path, "mtty", HOTPLUG, head='[guest]\nmachine = "q35"\n')
    ended = passthru("run", file)
    assert ended.status == 125, ended  # nothing was judged
    verdict, summary = only(ended, "hotplug")
    assert verdict == "skipped"
    assert "Bus 'pcie.0' does not support hotplugging" in summary
    assert ended.findings()["hotplug"]["facts"] == {"capability": "a hot-plug slot"}


def test_the_loss_of_bytes_after_a_hot_add_fails_its_round(passthru: Command) -> None:
    # The check itself fails before; it must do so again, from within.
    ended = passthru("run", "mtty-hotplug", "--set", "check.loopback.bytes=16", "--set", "check.hotplug.rounds=2")
    assert ended.status == 1, ended
    verdict, summary = only(ended, "hotplug")
    assert verdict == "failed"
    assert summary.startswith("round 1 of 2: loopback: bytes did not come back: port 0 (ttyS")


def test_a_reboot_on_the_line_that_the_kernel_shares(passthru: Command) -> None:
    ended = passthru("run", "mtty-reboot", "--set", "guest.cmdline=module_blacklist=virtio_console")
    assert ended.status == 0, ended
    assert "its shell shares ttyS0" in ended.stdout


def test_then_names_a_check_that_is_not_there(passthru: Command) -> None:
    ended = passthru("run", "mtty-hotplug", "--set", 'check.hotplug.then=["lopback"]')
    assert ended.status == 2, ended
    assert 'check.hotplug.then: "lopback" is no check of this scenario' in ended.stderr
