# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the way of an assignment: each blocker with its fix, on a made machine, and nothing is touched."""

from __future__ import annotations

import os
import resource
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.devices.operations import Operations
from tests.unit.worker.fake_sysfs import NOIOMMU, RELEASE, FakeSystem
from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.worker.fake_sysfs import Machine

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
GIB = 1 << 30


@pytest.fixture
def blockers(machine: Machine) -> Callable[..., list[dict[str, Any]]]:
    def ask(*wanted: dict[str, Any], memory: int = GIB, kind: str = "local") -> list[dict[str, Any]]:
        before = snapshot(str(machine.root))
        system = FakeSystem(str(machine.root))
        answer = Operations(system).answer(
            {
                "do": "preflight",
                "assignments": [
                    {"name": f"dev{number}", "container": "type1"} | one for number, one in enumerate(wanted)
                ],
                "memory": memory,
                "kind": kind,
            }
        )
        assert snapshot(str(machine.root)) == before
        assert not os.path.exists(system.state)  # noqa: PTH110
        found: list[dict[str, Any]] = answer["blockers"]
        assert all(blocker["fix"] for blocker in found)
        return found

    return ask


def pci(host: str, **more: Any) -> dict[str, Any]:
    return {"bus": "pci", "host": host, **more}


MTTY = {"bus": "mdev", "parent": "mtty", "type": "mtty-2"}


@pytest.mark.parametrize(
    "assignment",
    [
        pci("0000:00:05.0"),
        pci("00:05.0"),
        pci("1B36:0002"),
        pci("00:07.0/01.0"),
        pci("00:08.0", vf=1, vfs=2),
        MTTY,
        MTTY | {"uuid": UUID.upper()},
    ],
)
def test_nothing_stands_in_the_way(blockers: Any, assignment: dict[str, Any]) -> None:
    assert blockers(assignment) == []


@pytest.mark.parametrize(
    ("assignment", "wrong", "words"),
    [
        (pci("00:1e.0"), "mistake", "there is no PCI device 0000:00:1e.0"),
        (pci("abcd:ef01"), "mistake", "there is no PCI device abcd:ef01"),
        (pci("8086:10c9/x"), "mistake", "names no PCI device"),
        (pci("00:04.0/00.0"), "mistake", "there is no device 00.0 behind 0000:00:04.0"),
        (pci("00:04.0"), "mistake", "is a bridge"),
        (pci("00:05.0", vf=0), "mistake", "has no virtual functions"),
        (pci("00:08.0", vf=7), "mistake", "can have 7 virtual functions, not 8"),
        (MTTY | {"parent": "nvidia"}, "mistake", "there is no parent 'nvidia'"),
        (MTTY | {"type": "mtty-3"}, "mistake", "has no mdev type 'mtty-3'"),
        (MTTY | {"uuid": "83b8"}, "mistake", "is no UUID"),
        (MTTY | {"container": "iommufd"}, "missing", "has no iommufd"),
    ],
)
def test_what_the_user_named_is_not_there(blockers: Any, assignment: dict[str, Any], wrong: str, words: str) -> None:
    found = blockers(assignment)
    assert [blocker["wrong"] for blocker in found] == [wrong]
    assert words in found[0]["what"]


def test_two_devices_of_one_kind_are_both_named(blockers: Any, machine: Machine) -> None:
    machine.add("0000:00:09.0", "1234:11e8", 9)
    assert "0000:00:06.0, 0000:00:09.0" in blockers(pci("1234:11e8"))[0]["what"]


def test_a_device_assigned_twice(blockers: Any) -> None:
    found = blockers(pci("00:06.0"), pci("1234:11e8"))
    assert "assigned twice, as dev0 and dev1" in found[0]["what"]


class TestInUse:
    """The host's own disks, network and console are not given away, nor what shares their group."""

    def one(self, blockers: Any, host: str = "00:05.0") -> dict[str, Any]:
        found = blockers(pci(host))
        assert [blocker["wrong"] for blocker in found] == ["mistake"]
        return dict(found[0])

    def test_a_network_interface_with_a_default_route(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "net", "eth0", flags="0x1003")
        machine.text("proc/net/route", "Iface Destination Gateway\neth0 0002000A 00000000\neth0 00000000 0202000A")
        blocker = self.one(blockers)
        assert "eth0 is up and has the default route" in blocker["what"]
        assert "driver serial" in blocker["what"]

    def test_an_interface_with_an_ipv6_address(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "net", "eth0", flags="0x1003")
        machine.text("proc/net/if_inet6", "fd000000000000000000000000000002 02 40 00 80 eth0")
        assert "eth0 is up and has an address" in self.one(blockers)["what"]

    def test_an_interface_in_a_bridge(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "net", "eth0", flags="0x1003", upper_br0="")
        assert "is part of br0" in self.one(blockers)["what"]

    @pytest.mark.parametrize("flags", ["0x1002", "0x1003"])
    def test_one_that_is_down_or_has_a_link_local_address_only_may_go(
        self, blockers: Any, machine: Machine, flags: str
    ) -> None:
        machine.below("0000:00:05.0", "net", "eth0", flags=flags)
        machine.text("proc/net/if_inet6", "fe800000000000000000000000000002 02 40 20 80 eth0")
        assert blockers(pci("00:05.0")) == []

    def test_a_mounted_disk(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "block", "vda", dev="254:0")
        machine.text("proc/self/mountinfo", "21 1 254:0 / / rw - ext4 /dev/vda rw")
        assert "the disk vda is mounted at /" in self.one(blockers)["what"]

    def test_a_disk_under_a_mapped_device(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "block", "vda", dev="254:0")
        (machine.root / "sys/class/block/vda/holders/dm-0").mkdir(parents=True)
        assert "the disk vda belongs to dm-0" in self.one(blockers)["what"]

    def test_a_disk_that_another_mount_namespace_has(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "block", "vda", dev="254:0")
        machine.text("dev/vda", "busy")
        assert "vda is mounted or otherwise in use" in self.one(blockers)["what"]

    def test_swap_space(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "block", "vda", dev="254:0")
        machine.text("dev/vda", "")
        machine.text("proc/swaps", "Filename Type Size\n/dev/vda partition 1024")
        assert "vda holds swap space" in self.one(blockers)["what"]

    def test_the_console(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "tty", "ttyS0")
        assert "ttyS0 is a console of the kernel" in self.one(blockers)["what"]

    def test_the_worker_s_own_port(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:00:05.0", "virtio-ports", "vport1p1")
        assert "vport1p1" in self.one(blockers)["what"]

    def test_another_device_of_its_group(self, blockers: Any, machine: Machine) -> None:
        machine.below("0000:01:02.0", "net", "eth0", flags="0x1003")
        machine.text("proc/net/route", "Iface Destination Gateway\neth0 00000000 0202000A")
        what = self.one(blockers, "00:07.0/01.0")["what"]
        assert "0000:01:02.0 (8086:100e), which shares IOMMU group 7 with 0000:01:01.0" in what
        assert "driver e1000" in what

    def test_somebody_else_s_guest(self, blockers: Any, machine: Machine) -> None:
        machine.load("vfio_pci", {})
        machine.unbind("0000:00:05.0", "serial")
        (machine.device("0000:00:05.0") / "driver_override").write_text("vfio-pci\n")
        machine.probe("0000:00:05.0")
        assert blockers(pci("00:05.0")) == []
        machine.text("dev/vfio/5", "busy")
        assert "in use already: process 4711 has /dev/vfio/5 open" in self.one(blockers)["what"]


class TestTheHost:
    """What no device of this host can do without."""

    def one(self, blockers: Any, **arguments: Any) -> dict[str, Any]:
        found = blockers(pci("00:05.0"), pci("00:06.0"), **arguments)
        assert len(found) == 1  # told once, for both
        assert found[0]["device"] is None
        return dict(found[0])

    @pytest.mark.parametrize(
        ("table", "cmdline", "words", "fix"),
        [
            ("DMAR", "quiet", "intel_iommu=on is not in its command line", "add intel_iommu=on"),
            ("IVRS", "amd_iommu=off", "amd_iommu=off is in its command line", "remove that word"),
            ("VIOT", "", "does not use its virtio IOMMU", "virtio_iommu"),
            ("FACP", "", "has no IOMMU", "firmware"),
        ],
    )
    def test_no_iommu(self, blockers: Any, machine: Machine, table: str, cmdline: str, words: str, fix: str) -> None:
        without_iommu(machine, table, cmdline)
        blocker = self.one(blockers)
        assert blocker["wrong"] == "unusable"
        assert words in blocker["what"]
        assert fix in blocker["fix"]

    def test_a_rig_without_an_iommu(self, blockers: Any, machine: Machine) -> None:
        without_iommu(machine, "FACP", "")
        assert 'host.iommu = "intel"' in self.one(blockers, kind="rig")["fix"]

    def test_no_module(self, blockers: Any, machine: Machine) -> None:
        machine.text(f"lib/modules/{RELEASE}/modules.dep", "kernel/vfio/vfio_iommu_type1.ko:")
        assert "has no module vfio-pci" in self.one(blockers)["what"]

    def test_interrupts_are_not_remapped(self, blockers: Any, machine: Machine) -> None:
        machine.text("proc/interrupts", "  4:  0  IO-APIC  4-edge  ttyS0\n 25:  7  PCI-MSI 1-edge virtio0")
        blocker = self.one(blockers)
        assert "does not remap interrupts" in blocker["what"]
        assert "unsafe" in blocker["fix"]
        assert blockers(pci("00:05.0", unsafe=True)) == []
        machine.text("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y")
        assert blockers(pci("00:05.0")) == []

    def test_too_little_locked_memory(self, blockers: Any, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        machine.text("proc/self/status", "CapEff:\t0000000000000000")
        monkeypatch.setattr(resource, "getrlimit", lambda which: (8 << 20, 64 << 20))
        blocker = self.one(blockers)
        assert "1024 MiB" in blocker["what"]
        assert "65536 KiB" in blocker["what"]
        assert blockers(pci("00:05.0"), memory=64 << 20) == []
        assert blockers(MTTY) == []  # an mdev locks nothing before it is asked to

    def test_no_permission(self, blockers: Any, machine: Machine) -> None:
        for address in ("0000:00:05.0", "0000:00:06.0"):
            (machine.device(address) / "driver_override").chmod(0o444)
        found = blockers(pci("00:05.0"))
        assert "may not change the driver of 0000:00:05.0" in found[0]["what"]


class TestMdev:
    def test_no_instances_left(self, blockers: Any, machine: Machine) -> None:
        for number in range(12):
            machine.create_mdev("mtty", "mtty-2", f"{number:02x}{UUID[2:]}")
        found = blockers(MTTY)
        assert "no instances of mtty-2 left" in found[0]["what"]
        assert f"0b{UUID[2:]}" in found[0]["what"]

    def test_one_is_left_and_two_are_wanted(self, blockers: Any, machine: Machine) -> None:
        for number in range(11):
            machine.create_mdev("mtty", "mtty-2", f"{number:02x}{UUID[2:]}")
        assert blockers(MTTY) == []
        assert "no instances" in blockers(MTTY, MTTY)[0]["what"]

    def test_a_uuid_in_use(self, blockers: Any, machine: Machine) -> None:
        machine.create_mdev("mtty", "mtty-1", UUID)
        assert f"there is an mdev {UUID} on this host already" in blockers(MTTY | {"uuid": UUID})[0]["what"]


def without_iommu(machine: Machine, table: str, cmdline: str) -> None:
    (machine.root / "sys/class/iommu/dmar0").rmdir()
    (machine.root / "sys/firmware/acpi/tables/DMAR").unlink()
    machine.text(f"sys/firmware/acpi/tables/{table}", "")
    machine.text("proc/cmdline", cmdline)
    shutil.rmtree(machine.sys / "kernel/iommu_groups")
    for device in (machine.sys / "bus/pci/devices").iterdir():
        (device.resolve() / "iommu_group").unlink()


class TestWithoutIommu:
    """What stands in the way of a device that is to do without an IOMMU."""

    def test_nothing_where_there_is_none(self, machine: Machine, blockers: Callable[..., list[dict[str, Any]]]) -> None:
        machine.without_iommu()
        assert blockers(pci("00:05.0", container="noiommu")) == []

    def test_an_iommu_a_kernel_and_a_user(
        self, machine: Machine, blockers: Callable[..., list[dict[str, Any]]]
    ) -> None:
        machine.load("vfio", {})
        machine.text("proc/self/status", "CapEff:\t0000000000000000")
        behind, kernel, user = blockers(pci("00:05.0", container="noiommu"))
        assert "an IOMMU translates for 0000:00:05.0" in behind["what"]
        assert 'host.iommu = "none"' in behind["fix"]
        assert (kernel["wrong"], kernel["capability"]) == ("missing", "noiommu")
        assert "CAP_SYS_RAWIO" in user["what"]

    def test_a_device_in_use_is_not_taken(
        self, machine: Machine, blockers: Callable[..., list[dict[str, Any]]]
    ) -> None:
        machine.without_iommu()
        machine.below("0000:01:02.0", "net", "eth0", flags="0x1003", upper_br0="")
        (blocker,) = blockers(pci("0000:01:02.0", container="noiommu"))
        assert "is in use by the host" in blocker["what"]

    def test_an_mdev_is_never_without(self, blockers: Callable[..., list[dict[str, Any]]]) -> None:
        (blocker,) = blockers(MTTY | {"container": "noiommu"})
        assert "VFIO gives none away without an IOMMU" in blocker["what"]

    def test_a_group_that_vfio_made_for_it_is_no_sign_of_an_iommu(
        self, machine: Machine, blockers: Callable[..., list[dict[str, Any]]]
    ) -> None:
        machine.without_iommu()
        machine.load("vfio_pci", {})
        (machine.root / NOIOMMU).write_text("Y\n")
        machine.bind_by_hand("0000:00:05.0")
        assert any("does not use its Intel IOMMU" in blocker["what"] for blocker in blockers(pci("00:06.0")))


def test_an_mdev_that_is_there_is_looked_at(machine: Machine, blockers: Callable[..., list[dict[str, Any]]]) -> None:
    there = {"bus": "mdev", "parent": None, "type": None, "uuid": UUID}
    (blocker,) = blockers(there)
    assert blocker["what"] == f"there is no mdev {UUID} on this host"
    machine.create_mdev("mtty", "mtty-2", UUID)
    assert blockers(there) == []
    (machine.root / "dev/vfio/101").write_text("busy\n")
    (blocker,) = blockers(there)
    assert "is in use by process 4711" in blocker["what"]
