# SPDX-License-Identifier: GPL-2.0-or-later
"""The check fsl-mc: a guest's container beside its host's, the guest's script on a made bus, and what is sent there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check import fsl_mc_on_host
from passthru.check.context import AssignedDevice, Context
from passthru.check.finding import Finding, Verdict
from passthru.check.fsl_mc import _LISTING, PROGRAM, Options
from passthru.check.registry import judge as judge_or_skip
from passthru.errors import PassthruError
from tests.unit.check.harness import Answer, Complaint, Log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.deadline import Deadline

DEVICE = AssignedDevice("net", "dprc.2", host={"sysfs": "/sys/bus/fsl-mc/devices/dprc.2"})
BUS = {
    "dpbp.1": ("dprc.2", "fsl_mc_allocator"),
    "dpio.0": ("dprc.2", ""),
    "dprc.2": ("4c000000.fsl-mc", "fsl_mc_dprc"),
}
ON_HOST = b"dpbp.1\ndpio.0\ndriver\niommu_group\npower\n"


def listing(bus: Mapping[str, tuple[str, str]]) -> bytes:
    """What the guest's script prints."""
    rows = (f"{name}|{above}|{driver}|fsl-mc:v00001957d{name[:-2]}" for name, (above, driver) in bus.items())
    return "".join(f"{row}\n" for row in rows).encode()


@dataclass
class Guest:
    """A guest with this bus; what the host adds to it and removes from it shows, unless it is deaf."""

    bus: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(BUS))
    ring: str = "<6>[    5.9] fsl_mc_dprc dprc.2: DPRC device bound to driver\n"
    kernel_log: Log = field(default_factory=Log)
    interrupts: int = 0
    deaf: bool = False
    status: int = 0

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        if command == "dmesg -r":
            return Answer(self.ring.encode())
        if command == "cat /proc/interrupts":
            return Answer(f" 16:  {self.interrupts} 0  ITS-fMSI 0 Edge dprc.2\n 17: 9 0 x dprc.22\n".encode())
        found = True
        if "until [ -e" in command:
            found = "dpbp.7" in self.bus
        elif "until [ ! -e" in command:
            found = "dpbp.7" not in self.bus
        return Answer(listing(self.bus), status=self.status or (0 if found else 4))


@dataclass
class Host:
    """The host's hand; ``ran`` is what it was asked."""

    guest: Guest
    ran: list[list[str]] = field(default_factory=list)
    status: int = 0
    driver: str = "fsl_mc_allocator"

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: Deadline) -> Answer:
        self.ran.append(list(argv))
        if argv[0] == "ls":
            return Answer(ON_HOST, status=self.status)
        assert argv[:2] == ["python3", f"/there/{PROGRAM.name}"]
        if self.status:
            return Answer(b"Traceback\nOSError: no such ioctl\n", status=self.status)
        if not self.guest.deaf:
            self.guest.interrupts += 1
            if argv[2] == "add":
                self.guest.bus["dpbp.7"] = ("dprc.2", self.driver)
            else:
                del self.guest.bus["dpbp.7"]
        return Answer(b"7\n" if argv[2] == "add" else b"")

    def path_of(self, local: Path) -> str:
        return f"/there/{local.name}"

    def facts(self, device: str) -> Mapping[str, str]:
        return DEVICE.host


async def found(guest: Guest, host: Host | None = None, **options: Any) -> Finding:
    table = Options.model_validate({"use": "fsl-mc", "device": "net", **options})
    context: Any = Context(guest, DEVICE, host=host or Host(guest))
    return await judge_or_skip(context, table)


async def test_a_container_as_on_the_host_passes() -> None:
    finding = await found(Guest())
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary == "dprc.2 is the guest's root container with all 2 objects"
    assert finding.facts["objects"] == ["dpbp.1", "dpio.0"]


async def test_what_is_expected_is_asked_of_nobody() -> None:
    guest = Guest()
    host = Host(guest)
    assert (await found(guest, host, expect=("dpio.0", "dpbp.1"))).verdict is Verdict.PASSED
    assert host.ran == []


@pytest.mark.parametrize(
    ("bus", "told"),
    [
        ({"dprc.2": None}, "expected dprc.2 as the guest's one root container, got dpbp.1, dpio.0"),
        ({"dprc.1": ("x", "fsl_mc_dprc")}, "expected dprc.2 as the guest's one root container, got dprc.2, dprc.1"),
        ({"dpio.0": None}, "the guest has no dpio.0, which is in dprc.2 on the host"),
        ({"dpni.3": ("dprc.2", "")}, "the guest has dpni.3, which is not in dprc.2 on the host"),
        ({"dpbp.1": ("dprc.2", "")}, "dpbp.1 has the driver none, and not fsl_mc_allocator"),
        ({"dprc.2": ("x", "vfio-fsl-mc")}, "dprc.2 has the driver vfio-fsl-mc, and not fsl_mc_dprc"),
        ({"dpio.0": ("dpbp.1", "")}, "dpio.0 is in dpbp.1, and not in dprc.2"),
    ],
)
async def test_each_object_counts(bus: dict[str, Any], told: str) -> None:
    changed = {name: place for name, place in {**BUS, **bus}.items() if place}
    finding = await found(Guest(changed))
    assert finding.verdict is Verdict.FAILED
    assert told in finding.summary


async def test_errors_of_the_kernel_about_it_count() -> None:
    ring = "<3>[  5.1] usb 1-1: failed\n<3>[  5.2] fsl_mc_bus 4c000000.fsl-mc: no luck\n<4>[  5.3] dpio.0: hm\n"
    finding = await found(Guest(ring=ring))
    assert finding.verdict is Verdict.FAILED
    assert finding.details == ('the guest\'s kernel said "fsl_mc_bus 4c000000.fsl-mc: no luck"',)
    finding = await found(Guest(kernel_log=Log(splats=[Complaint("BUG: x")])))
    assert finding.details == ("the guest's kernel complained: BUG: x",)


async def test_a_guest_without_the_bus_fails() -> None:
    finding = await found(Guest(status=3))
    assert (finding.verdict, finding.summary) == (Verdict.FAILED, "the guest's kernel has no bus fsl-mc")


async def test_nonsense_is_no_verdict() -> None:
    with pytest.raises(PassthruError, match="ended with status 1"):
        await found(Guest(status=1))


async def test_an_object_comes_and_goes() -> None:
    guest = Guest()
    host = Host(guest)
    finding = await found(guest, host, hot_add=True)
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.summary.endswith("; dpbp.7 came and went again by 2 interrupts")
    assert [argv[2:] for argv in host.ran[1:]] == [["add", "dprc.2"], ["remove", "dprc.2", "7"]]


async def test_one_that_does_not_come_fails_and_is_removed_all_the_same() -> None:
    guest = Guest(deaf=True)
    host = Host(guest)
    finding = await found(guest, host, hot_add=True)
    assert finding.details == ("dpbp.7, which was added on the host, did not come to the guest in 15 s",)
    assert host.ran[-1][2] == "remove"


async def test_one_that_comes_undriven_fails() -> None:
    guest = Guest()
    finding = await found(guest, Host(guest, driver="other"), hot_add=True)
    assert finding.details == ("dpbp.7 has the driver other, and not fsl_mc_allocator",)


async def test_a_host_that_takes_no_commands_is_a_missing_capability() -> None:
    guest = Guest()
    finding = await found(guest, Host(guest, status=1), hot_add=True, expect=("dpbp.1", "dpio.0"))
    assert finding.verdict is Verdict.SKIPPED
    assert finding.summary.endswith("ended on the host with status 1: OSError: no such ioctl")


def test_only_what_adds_an_object_is_brought() -> None:
    plain = Options(use="fsl-mc", device="net")
    assert plain.brings == ()
    assert plain.model_copy(update={"hot_add": True}).brings == (str(PROGRAM),)


def test_the_script_tells_what_is_on_a_bus(tmp_path: Path) -> None:
    bus, driver = tmp_path / "bus", tmp_path / "drivers/fsl_mc_dprc"
    root = tmp_path / "4c000000.fsl-mc/dprc.2"
    (root / "dpbp.1").mkdir(parents=True)
    driver.mkdir(parents=True)
    bus.mkdir()
    for place in (root, root / "dpbp.1"):
        (place / "modalias").write_text(f"fsl-mc:v00001957d{place.name[:-2]}\n")
        (bus / place.name).symlink_to(place)
    (root / "driver").symlink_to(driver)
    script = _LISTING.replace("/sys/bus/fsl-mc/devices", str(bus))
    ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout.splitlines() == [
        "dpbp.1|dprc.2||fsl-mc:v00001957ddpbp",
        "dprc.2|4c000000.fsl-mc|fsl_mc_dprc|fsl-mc:v00001957ddprc",
    ]
    missing = subprocess.run(["sh", "-c", script.replace(str(bus), f"{bus}x")], capture_output=True, check=False)
    assert missing.returncode == 3


def test_the_root_of_a_host_is_the_one_in_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "80c000000.fsl-mc/dprc.3/dprc.2"
    (inner / "dpbp.1").mkdir(parents=True)
    bus = tmp_path / "bus"
    bus.mkdir()
    for place in (inner.parent, inner, inner / "dpbp.1"):
        (bus / place.name).symlink_to(place)
    monkeypatch.setattr(fsl_mc_on_host, "BUS", bus)
    assert fsl_mc_on_host.root() == "dprc.3"
    (bus / "dprc.3").unlink()
    (bus / "dprc.2").unlink()
    with pytest.raises(SystemExit, match="no DPAA2 root container"):
        fsl_mc_on_host.root()
