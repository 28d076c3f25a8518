# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands in the way of a platform or AMBA device or a DPAA2 container, on a made machine; nothing is touched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.devices.operations import Operations
from tests.unit.worker.fake_chip import ChipMachine, ChipSystem, usual_chip
from tests.unit.worker.fake_sysfs import RELEASE
from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Ask = Callable[..., list[dict[str, Any]]]

OLD = "6.1.0-fake"


@pytest.fixture
def machine(tmp_path: Path) -> ChipMachine:
    machine = usual_chip(tmp_path / "machine")
    machine.text(f"lib/modules/{RELEASE}/modules.alias", "alias vfio-reset:arm,pl011 vfio_platform_pl011")
    return machine


@pytest.fixture
def blockers(machine: ChipMachine) -> Ask:
    def ask(*wanted: dict[str, Any], kind: str = "local") -> list[dict[str, Any]]:
        before = snapshot(str(machine.root))
        system = ChipSystem(str(machine.root))
        named = [{"name": f"dev{number}", "container": "type1"} | one for number, one in enumerate(wanted)]
        answer = Operations(system).answer({"do": "preflight", "assignments": named, "memory": 1 << 20, "kind": kind})
        assert snapshot(str(machine.root)) == before
        assert not os.path.exists(system.state)  # noqa: PTH110
        found: list[dict[str, Any]] = answer["blockers"]
        assert all(blocker["fix"] for blocker in found)
        return found

    return ask


def amba(host: str, **more: Any) -> dict[str, Any]:
    return {"bus": "amba", "host": host, "unsafe": True, **more}


def platform(host: str, **more: Any) -> dict[str, Any]:
    return {"bus": "platform", "host": host, "reset_required": False, **more}


def fsl_mc(host: str, **more: Any) -> dict[str, Any]:
    return {"bus": "fsl-mc", "host": host, **more}


@pytest.mark.parametrize(
    "assignment",
    [
        amba("9010000.pl031"),
        amba("/pl031@9010000"),
        amba("arm,pl031"),
        amba("9040000.pl011"),
        platform("7fc00000.copy"),
        platform("a000000.pair"),
        fsl_mc("dprc.2"),
        fsl_mc("dprc.3"),
    ],
)
def test_nothing_stands_in_the_way(blockers: Ask, assignment: dict[str, Any]) -> None:
    assert blockers(assignment) == []


@pytest.mark.parametrize(
    ("assignment", "words", "fix"),
    [
        (
            amba("9020000.pl061"),
            "no device '9020000.pl061' on the bus amba",
            "behind an IOMMU it has 9000000.pl011, 90",
        ),
        (platform("9010000.pl031"), "9010000.pl031 is a device of the bus amba, not of platform", 'say bus = "amba"'),
        (amba("arm,pl011"), "2 devices of the bus amba are arm,pl011: 9000000.pl011, 9040000.pl011", "by its name"),
        (amba("/pl031"), "there is no device '/pl031'", "behind an IOMMU it has"),
        (fsl_mc("dprc.7"), "there is no container 'dprc.7' on the bus fsl-mc", "it has dprc.2, dprc.3"),
        (fsl_mc("dprc.1"), "dprc.1 is the root container", "it has dprc.2, dprc.3"),
        (fsl_mc("dpni.3"), "dpni.3 is an object of dprc.3, and containers are given away whole", 'say "dprc.3"'),
        (fsl_mc("dpmcp.1"), "dpmcp.1 is an object of dprc.1", "move it to a container of its own"),
        (fsl_mc("dprc.2", container="noiommu"), "is not given away without an IOMMU", 'container = "type1"'),
    ],
)
def test_what_the_user_named_is_not_there(blockers: Ask, assignment: dict[str, Any], words: str, fix: str) -> None:
    (found,) = blockers(assignment)
    assert found["wrong"] == "mistake"
    assert words in found["what"]
    assert fix in found["fix"]


def test_a_bus_without_devices(blockers: Ask, machine: ChipMachine) -> None:
    for entry in (machine.sys / "bus/fsl-mc/devices").iterdir():
        entry.unlink()
    assert blockers(fsl_mc("dprc.2"))[0]["fix"] == "that bus has no devices"


def test_a_device_assigned_twice(blockers: Ask) -> None:
    found = blockers(amba("9010000.pl031"), amba("arm,pl031"), fsl_mc("dprc.2"), fsl_mc("DPRC.2"))
    assert [blocker["what"] for blocker in found] == [
        "9010000.pl031 is assigned twice, as dev0 and dev1",
        "dprc.2 is assigned twice, as dev2 and dev3",
    ]


class TestTranslation:
    def test_a_device_without_a_stream(self, blockers: Ask) -> None:
        (found,) = blockers(platform("b000000.bare"))
        assert "no IOMMU of this host translates for b000000.bare" in found["what"]
        assert "iommus = " in found["fix"]

    @pytest.mark.parametrize(
        ("gone", "asked", "host"), [("dprc.1", "dprc.1", "dprc.2"), ("dprc.3", "dprc.3", "dprc.3")]
    )
    def test_a_container_without_a_group_is_never_bound(
        self, blockers: Ask, machine: ChipMachine, gone: str, asked: str, host: str
    ) -> None:
        (machine.on("fsl-mc", gone) / "iommu_group").unlink()
        (found,) = blockers(fsl_mc(host))
        assert found["wrong"] == "unusable"
        assert f"no IOMMU translates for {asked}: it has no IOMMU group, and the kernel may crash" in found["what"]
        assert "iommu-map" in found["fix"]

    def test_a_rig_without_an_iommu(self, blockers: Ask, machine: ChipMachine) -> None:
        (machine.sys / "class/iommu/smmu3.0x9050000").rmdir()
        for group in (machine.sys / "kernel/iommu_groups").iterdir():
            for member in (group / "devices").iterdir():
                (member.resolve() / "iommu_group").unlink()
                member.unlink()
        (found,) = blockers(platform("7fc00000.copy"), kind="rig")
        assert found["what"] == "the rig has no IOMMU"
        assert '"smmuv3" or "ram-smmuv2"' in found["fix"]

    def test_a_group_with_something_of_another_bus(self, blockers: Ask, machine: ChipMachine) -> None:
        machine.add("0000:00:02.0", "1af4:1041", None)
        device = machine.device("0000:00:02.0")
        (device / "subsystem").symlink_to(machine.sys / "bus/pci")
        machine.join(device, 5)
        (found,) = blockers(platform("a000000.pair"))
        assert "shares its IOMMU group with 0000:00:02.0 of the bus pci" in found["what"]


class TestInUse:
    def test_the_console(self, blockers: Ask, machine: ChipMachine) -> None:
        (found,) = blockers(amba("9000000.pl011"))
        assert "in use by the host (driver uart-pl011): the firmware names it as the console" in found["what"]
        tree = machine.sys / "firmware/devicetree/base"
        (tree / "aliases").mkdir()
        (tree / "aliases/serial0").write_text("/pl011@9000000\0")
        (tree / "chosen/stdout-path").write_text("serial0:115200n8\0")
        assert "names it as the console" in blockers(amba("9000000.pl011"))[0]["what"]

    def test_a_driver_that_lets_go_of_nothing(self, blockers: Ask, machine: ChipMachine) -> None:
        (machine.sys / "firmware/devicetree/base/chosen/stdout-path").unlink()
        (found,) = blockers(amba("9000000.pl011"))
        assert "cannot be taken from its driver uart-pl011" in found["what"]
        assert "arm,primecell-periphid" in found["fix"]

    def test_a_network_interface_of_an_object(self, blockers: Ask, machine: ChipMachine) -> None:
        interface = machine.on("fsl-mc", "dpni.3") / "net/eth1"
        interface.mkdir(parents=True)
        (interface / "flags").write_text("0x1003\n")
        (machine.sys / "class/net/eth1").symlink_to(os.path.relpath(interface, machine.sys / "class/net"))
        assert blockers(fsl_mc("dprc.3")) == []  # up, and nobody uses it
        machine.text("proc/net/route", "Iface Destination Gateway\neth1 00000000 0202000A")
        (found,) = blockers(fsl_mc("dprc.3"))
        assert "dprc.3 is in use by the host (driver fsl_mc_dprc): the network interface eth1 is up" in found["what"]

    def test_another_device_of_its_group(self, blockers: Ask, machine: ChipMachine) -> None:
        port = machine.on("platform", "a001000.pair") / "tty/ttyAMA0"
        port.mkdir(parents=True)
        (machine.sys / "class/tty/ttyAMA0").symlink_to(os.path.relpath(port, machine.sys / "class/tty"))
        (found,) = blockers(platform("a000000.pair"))
        assert (
            "a001000.pair, which shares an IOMMU group with a000000.pair and goes with it, is in use" in found["what"]
        )

    def test_a_container_within_that_a_guest_has(self, blockers: Ask, machine: ChipMachine) -> None:
        machine.container("dprc.4", "dprc.3", ["dpbp.4"], stream=19)
        machine.load("vfio_fsl_mc", {})
        (machine.on("fsl-mc", "dprc.4") / "driver_override").write_text("vfio-fsl-mc\n")
        machine.bind_on("fsl-mc", "dprc.4", "vfio-fsl-mc")
        (found,) = blockers(fsl_mc("dprc.3"))
        assert "dprc.4, a container in dprc.3, is given away already" in found["what"]

    def test_somebody_else_s_guest(self, blockers: Ask, machine: ChipMachine) -> None:
        machine.load("vfio_amba", {})
        machine.unbind_on("amba", "9010000.pl031", "rtc-pl031")
        (machine.on("amba", "9010000.pl031") / "driver_override").write_text("vfio-amba\n")
        machine.bind_on("amba", "9010000.pl031", "vfio-amba")
        assert blockers(amba("9010000.pl031")) == []
        machine.text("dev/vfio/1", "busy")
        assert "in use already: process 4711 has /dev/vfio/1 open" in blockers(amba("9010000.pl031"))[0]["what"]

    def test_no_permission(self, blockers: Ask, machine: ChipMachine) -> None:
        (machine.on("fsl-mc", "dprc.2") / "driver_override").chmod(0o444)
        (found,) = blockers(fsl_mc("dprc.2"))
        assert "may not change the driver of dprc.2" in found["what"]
        assert "sudo passthru bind fsl-mc:dprc.2" in found["fix"]


class TestModules:
    @pytest.mark.parametrize(
        ("assignment", "module", "fix"),
        [
            (amba("9010000.pl031"), "vfio-amba", "CONFIG_VFIO_AMBA"),
            (platform("7fc00000.copy"), "vfio-platform", 'host.modules = ["vfio-platform"]'),
            (fsl_mc("dprc.2"), "vfio-fsl-mc", "CONFIG_VFIO_FSL_MC"),
        ],
    )
    def test_none(self, blockers: Ask, machine: ChipMachine, assignment: dict[str, Any], module: str, fix: str) -> None:
        machine.text(f"lib/modules/{RELEASE}/modules.dep", "kernel/vfio/vfio_iommu_type1.ko:")
        (found,) = blockers(assignment)
        assert f"has no module {module}" in found["what"]
        assert fix in found["fix"]

    @pytest.mark.parametrize("assignment", [amba("9010000.pl031"), platform("7fc00000.copy", reset_required=False)])
    def test_before_6_3_nothing_without_a_reset_driver(
        self, blockers: Ask, machine: ChipMachine, assignment: dict[str, Any]
    ) -> None:
        machine.of_release(OLD)
        (found,) = blockers(assignment)
        assert "before Linux 6.3" in found["what"]
        assert "vfio-reset-stub" in found["fix"]
        (machine.sys / "module/vfio_reset_stub").mkdir()
        assert blockers(assignment) == []

    def test_a_reset_that_is_required(self, blockers: Ask, machine: ChipMachine) -> None:
        (found,) = blockers(platform("7fc00000.copy", reset_required=True))
        assert "has no reset driver for 7fc00000.copy (passthru,copy-engine)" in found["what"]
        assert "reset_required = false" in found["fix"]
        aliases = "alias vfio-reset:passthru,copy-engine vfio_platform_copy"
        machine.text(f"lib/modules/{RELEASE}/modules.alias", aliases)
        assert blockers(platform("7fc00000.copy", reset_required=True)) == []

    def test_a_module_that_was_told_otherwise_and_is_in_use(self, blockers: Ask, machine: ChipMachine) -> None:
        machine.load("vfio_platform", {})
        assert blockers(platform("7fc00000.copy")) == []  # it is loaded anew
        (machine.sys / "module/vfio_platform/initstate").unlink()
        (found,) = blockers(platform("7fc00000.copy"))
        assert "vfio-platform is in use, or built in, with reset_required=1" in found["what"]


class TestInterrupts:
    def test_an_amba_device_needs_them_to_be_allowed(self, blockers: Ask, machine: ChipMachine) -> None:
        (found,) = blockers(amba("9010000.pl031", unsafe=False))
        assert "is an AMBA device" in found["what"]
        assert "host.unsafe_interrupts" in found["fix"]
        machine.text("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y")
        assert blockers(amba("9010000.pl031", unsafe=False)) == []

    def test_a_platform_device_needs_an_msi_parent(self, blockers: Ask, machine: ChipMachine) -> None:
        (machine.on("platform", "7fc00000.copy") / "of_node/msi-parent").unlink()
        (found,) = blockers(platform("7fc00000.copy"))
        assert "has no msi-parent" in found["what"]
        assert blockers(platform("7fc00000.copy", unsafe=True)) == []

    def test_before_6_2_the_machine_is_asked(self, blockers: Ask, machine: ChipMachine) -> None:
        machine.of_release(OLD)
        (machine.sys / "module/vfio_reset_stub").mkdir()
        (machine.on("platform", "7fc00000.copy") / "of_node/msi-parent").unlink()
        assert blockers(platform("7fc00000.copy"), amba("9010000.pl031", unsafe=False)) == []


def test_facts(machine: ChipMachine) -> None:
    answer = Operations(ChipSystem(str(machine.root))).answer(
        {"do": "preflight", "assignments": [], "memory": 0, "kind": "local"}
    )
    modules = answer["facts"]["modules"]
    assert [modules[f"vfio-{bus}"] for bus in ("platform", "amba", "fsl-mc")] == [True, True, True]
    assert answer["facts"]["interrupt_remapping"] is None
