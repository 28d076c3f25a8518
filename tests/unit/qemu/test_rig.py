# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM of a rig: what QEMU is told of its IOMMU, its drives, its lines and its kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.qemu.accelerator import kvm, nested, of_rig, tcg
from passthru.qemu.argv import by_pipes, guest_argv, streams
from passthru.qemu.boards import Q35
from passthru.qemu.hardware import Hardware
from passthru.qemu.rig import LINES, qemu_needs, rig_vm
from passthru.qemu.script import qemu_sh
from tests.unit.qemu.test_argv import devices, values

if TYPE_CHECKING:
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu

IOMMUS = tuple(Q35.iommus)
HARDWARE = (Hardware("uart", "pci-serial"), Hardware("nic", "igb"), Hardware("edu0", "edu", place="bridge"))


def rig(**changes: Any) -> Vm:
    return rig_vm(Path("/k"), Path("/i"), {"base": Path("/b"), "files": Path("/f")}, hardware=HARDWARE, **changes)


@pytest.fixture
def emulator(qemu: Qemu) -> Qemu:
    """All that any rig needs."""
    return replace(qemu, devices=qemu.devices.union(*(qemu_needs(iommu, HARDWARE) for iommu in IOMMUS)))


@pytest.mark.parametrize("iommu", IOMMUS)
def test_the_iommu_comes_before_all_that_it_is_for(emulator: Qemu, iommu: str) -> None:
    argv = guest_argv(emulator, of_rig(tcg()), rig(iommu=iommu))
    drivers = [device["driver"] for device in devices(argv)]
    others = drivers.index("virtio-blk-pci")
    wanted = {"intel": "intel-iommu", "amd": "amd-iommu", "virtio": "virtio-iommu-pci"}.get(iommu)
    assert [driver for driver in drivers[:others] if "iommu" in driver] == ([wanted] if wanted else [])
    assert not any("iommu" in driver for driver in drivers[others:])
    words = {"intel": {"intel_iommu=on"}, "amd": {"amd_iommu=on"}}.get(iommu, set())
    assert {word for word in values(argv, "-append")[0].split() if "iommu" in word} == words


def test_interrupts_are_remapped() -> None:
    made = {device.driver: device.properties for device in (*rig().devices, *rig(iommu="amd").devices)}
    assert made["intel-iommu"] == {"intremap": True, "caching-mode": True}
    assert made["amd-iommu"] == {"intremap": True}


@pytest.mark.parametrize(
    ("version", "remaps"), [("7.2.22", None), ("10.1.9", None), ("10.2.0", "on"), ("11.1.3", "on")]
)
def test_amds_iommu_remaps_dma(emulator: Qemu, version: str, remaps: str | None) -> None:
    argv = guest_argv(replace(emulator, version=version), tcg(), rig(iommu="amd"))
    (iommu,) = (device for device in devices(argv) if device["driver"] == "amd-iommu")
    assert iommu.get("dma-remap") == remaps


def test_nobody_shares_a_place_with_another(emulator: Qemu) -> None:
    placed = [
        (str(device.get("bus", "pcie.0")), device["addr"])
        for device in devices(guest_argv(emulator, tcg(), rig(iommu="virtio")))
        if "addr" in device
    ]
    assert len(set(placed)) == len(placed)
    # AMD's IOMMU takes the first free slot of the first bus, which is to be 01.
    assert ("pcie.0", "01.0") not in [
        (str(device.get("bus", "pcie.0")), device.get("addr"))
        for device in devices(guest_argv(emulator, tcg(), rig(iommu="amd")))
    ]


def test_drives_are_read_only_and_known_by_their_serial_numbers(emulator: Qemu) -> None:
    argv = guest_argv(emulator, tcg(), rig())
    assert values(argv, "-drive") == [
        "if=none,id=drive-base,format=raw,readonly=on,file=/b",
        "if=none,id=drive-files,format=raw,readonly=on,file=/f",
    ]
    found = [device for device in devices(argv) if device["driver"] == "virtio-blk-pci"]
    assert [(device["serial"], device["drive"], device["addr"]) for device in found] == [
        ("base", "drive-base", "03.0"),
        ("files", "drive-files", "03.1"),
    ]
    odd = rig_vm(Path("/k"), Path("/i"), {"base": Path("/a,b")})
    assert odd.devices[1].backends == (("-drive", "if=none,id=drive-base,format=raw,readonly=on,file=/a,,b"),)


def test_its_lines_are_ports_by_their_names(emulator: Qemu) -> None:
    vm = rig()
    ports = {device["name"]: device for device in devices(guest_argv(emulator, tcg(), vm)) if "name" in device}
    assert set(ports) == {"passthru.worker", *(f"passthru.line{number}" for number in range(LINES))}
    assert (ports["passthru.worker"]["chardev"], ports["passthru.line3"]["chardev"]) == ("worker", "line3")
    assert set(streams(vm)) == {"ttyS0", "worker", "qmp", "hardware-uart", *(f"line{n}" for n in range(LINES))}
    assert "shell" in streams(rig(shell=True))
    assert "passthru.shell" in rig(shell=True).cmdline.split()
    assert "passthru.shell" not in vm.cmdline


def test_kernel_words(emulator: Qemu) -> None:
    words = rig(words=("quiet", "a=b")).cmdline.split()
    assert words[:2] == ["console=ttyS0", "panic=-1"]
    assert words[-2:] == ["quiet", "a=b"]
    assert not [word for word in words if "unsafe" in word]
    unsafe = rig(unsafe_interrupts=True).cmdline.split()
    assert {"vfio_iommu_type1.allow_unsafe_interrupts=1", "iommufd.allow_unsafe_interrupts=1"} <= set(unsafe)
    argv = guest_argv(emulator, of_rig(tcg()), rig())
    assert values(argv, "-machine") == ["q35"]
    assert values(argv, "-smp") == ["2"]
    assert values(argv, "-m") == ["2048M"]


def test_hardware_has_its_chardev_and_its_network(emulator: Qemu) -> None:
    argv = guest_argv(emulator, tcg(), rig(), by_pipes)
    assert by_pipes("hardware-uart") in values(argv, "-chardev")
    assert values(argv, "-netdev") == ["user,id=net-nic,restrict=on"]


def test_a_person_can_start_it(emulator: Qemu) -> None:
    text = qemu_sh(emulator, of_rig(tcg()), rig(shell=True))
    assert "shell is a shell's console" in text
    assert "hardware-uart is the line of pci-serial" in text
    assert "worker is the worker's port" in text


def test_more_drives_than_there_is_room_for() -> None:
    with pytest.raises(ValueError, match="9 drives"):
        rig_vm(Path("/k"), Path("/i"), {str(number): Path("/b") for number in range(9)})


def test_a_rig_has_kvm_for_its_guest() -> None:
    emulated, real = of_rig(tcg("why")), of_rig(kvm())
    assert emulated.args == ("-accel", "tcg,thread=multi", "-cpu", "max")
    assert (emulated.name, emulated.reason, emulated.kernel_words) == ("tcg", "why", tcg().kernel_words)
    assert real.args == ("-accel", "kvm,kernel-irqchip=split", "-cpu", "host")


def test_the_guest_of_a_rig_takes_the_rigs_kvm() -> None:
    for outer in (of_rig(tcg()), of_rig(kvm())):
        inner = nested(outer)
        assert (inner.name, inner.args) == ("kvm", ("-accel", "kvm", "-cpu", "qemu64"))
        assert inner.scale > outer.scale
        assert inner.kernel_words == (*outer.kernel_words, "loglevel=5")
        without = nested(outer, "no KVM there")
        assert (without.name, without.reason) == ("tcg", "no KVM there")
        assert without.scale > inner.scale
