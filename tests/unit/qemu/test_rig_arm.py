# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM of an arm64 rig: its machine, its IOMMU, its serial ports, its tree and its RAM."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.qemu.accelerator import kvm, nested, of_rig, tcg
from passthru.qemu.argv import guest_argv, streams
from passthru.qemu.boards import BOARDS, VIRT
from passthru.qemu.hardware import Hardware
from passthru.qemu.rig import qemu_needs, rig_vm
from passthru.qemu.script import Companion, qemu_sh
from tests.unit.qemu.test_argv import devices, values

if TYPE_CHECKING:
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu

HARDWARE = (Hardware("edu0", "edu"), Hardware("nic", "igb"))


def rig(**changes: Any) -> Vm:
    drives = {"base": Path("/b"), "files": Path("/f")}
    return rig_vm(Path("/k"), Path("/i"), drives, arch="arm64", hardware=HARDWARE, **changes)


@pytest.fixture
def emulator(qemu: Qemu) -> Qemu:
    """All that an arm64 rig needs."""
    needs = qemu.devices.union(*(qemu_needs(iommu, HARDWARE, "arm64") for iommu in VIRT.iommus))
    return replace(qemu, arch="aarch64", machines=frozenset({"virt"}), devices=needs)


@pytest.mark.parametrize(
    ("iommu", "machine"),
    [
        ("", "virt,gic-version=3,iommu=smmuv3,virtualization=on"),
        ("smmuv3", "virt,gic-version=3,iommu=smmuv3,virtualization=on"),
        ("ram-smmuv2", "virt,gic-version=3,virtualization=on"),
        ("none", "virt,gic-version=3,virtualization=on"),
    ],
)
def test_its_machine_has_the_iommu_and_kvm_for_its_guest(emulator: Qemu, iommu: str, machine: str) -> None:
    argv = guest_argv(emulator, of_rig(tcg(arch="aarch64"), "aarch64"), rig(iommu=iommu))
    assert values(argv, "-machine") == [machine]
    assert values(argv, "-cpu") == ["neoverse-n1"]
    assert not [device for device in devices(argv) if "iommu" in str(device["driver"])]


def test_under_kvm_it_gives_its_guest_none(emulator: Qemu) -> None:
    argv = guest_argv(emulator, of_rig(kvm(), "aarch64"), rig(with_kvm=False))
    assert values(argv, "-machine") == ["virt,gic-version=3,iommu=smmuv3"]
    assert (values(argv, "-accel"), values(argv, "-cpu")) == (["kvm"], ["host"])


def test_lines_drives_and_hardware_are_as_on_any_rig(emulator: Qemu) -> None:
    argv = guest_argv(emulator, tcg(), rig())
    placed = {str(device["driver"]): device.get("addr") for device in devices(argv)}
    assert (placed["virtio-serial-pci"], placed["virtio-blk-pci"], placed["edu"]) == ("02.0", "03.1", "05.0")
    assert placed["pcie-root-port"] == "06.0"


def test_its_kernel_talks_on_its_serial_port(emulator: Qemu) -> None:
    words = rig(words=("a=b",)).cmdline.split()
    assert words == ["console=ttyAMA0", "panic=-1", "cryptomgr.notests", "a=b"]
    for arch, board in BOARDS.items():
        assert not [word for each in board.iommus.values() for word in each.words if arch == "arm64"]


def test_further_serial_ports_follow_the_first(emulator: Qemu) -> None:
    vm = rig(serials=["hardware-line"])
    assert "hardware-line" in streams(vm)
    argv = guest_argv(emulator, tcg(), vm)
    assert values(argv, "-serial") == ["chardev:ttyS0", "chardev:hardware-line"]
    assert len([value for value in values(argv, "-chardev") if "id=hardware-line" in value]) == 1
    with pytest.raises(ValueError, match="2 further serial ports; virt,gic-version=3 has 1"):
        rig(serials=["a", "b"])
    with pytest.raises(ValueError, match="q35 has 0"):
        rig_vm(Path("/k"), Path("/i"), {}, serials=["a"])


def test_its_tree_and_its_ram_are_files(emulator: Qemu) -> None:
    argv = guest_argv(emulator, tcg(), rig(tree=Path("/t.dtb"), ram="/r,am", iommu="none", with_kvm=False))
    assert values(argv, "-dtb") == ["/t.dtb"]
    assert values(argv, "-machine") == ["virt,gic-version=3,memory-backend=ram"]
    assert values(argv, "-object") == ["memory-backend-file,id=ram,size=2048M,mem-path=/r,,am,share=on"]
    assert values(argv, "-m") == ["2048M"]
    plain = guest_argv(emulator, tcg(), rig())
    assert not {"-dtb", "-object"} & set(plain)


def test_a_script_has_the_ram_beside_its_sockets_and_waits_for_what_a_companion_says(emulator: Qemu) -> None:
    companion = Companion(
        "devices", ("play", '{"ram": "{socket:ram}", "qtest": "{socket:qtest}"}'), says="they are here"
    )
    text = qemu_sh(emulator, of_rig(tcg(), "aarch64"), rig(ram="{socket:ram}", shell=True), [companion])
    assert 'mem-path="$work"/ram,share=on' in re.sub("'", "", text)
    assert '>"$work"/devices.out &' in text
    assert "said devices \"$!\" 'they are here'" in text
    assert "listening devices" not in text


def test_the_guest_of_an_arm64_rig_takes_the_rigs_kvm() -> None:
    rig_of_tcg = of_rig(tcg("why", "aarch64"), "aarch64")
    assert (rig_of_tcg.reason, rig_of_tcg.kernel_words) == ("why", ())
    inner = nested(rig_of_tcg, arch="aarch64")
    assert (inner.name, inner.args, inner.kernel_words) == ("kvm", ("-accel", "kvm", "-cpu", "host"), ("loglevel=5",))
    without = nested(rig_of_tcg, "no KVM there", "aarch64")
    assert without.args == ("-accel", "tcg,thread=multi", "-cpu", "neoverse-n1")
    assert without.scale > inner.scale
