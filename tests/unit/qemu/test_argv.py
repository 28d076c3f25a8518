# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's arguments."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.errors import Unusable
from passthru.qemu.accelerator import kvm, tcg
from passthru.qemu.argv import Device, Vm, command_line, guest_argv, streams, vfio_pci, vfio_user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.qemu.binary import Qemu

VM = Vm(kernel=Path("/k"), initrd=Path("/i"), cmdline=command_line("quiet"))


def values(argv: Sequence[str], option: str) -> list[str]:
    """What follows each occurrence of an option."""
    return [argv[place + 1] for place, word in enumerate(argv) if word == option]


def devices(argv: Sequence[str]) -> list[dict[str, Any]]:
    """As QEMU reads them."""
    return [
        json.loads(value)
        if value.startswith("{")
        else dict(part.split("=", 1) for part in f"driver={value}".split(","))
        for value in values(argv, "-device")
    ]


def test_a_guest_of_a_device_server(qemu: Qemu) -> None:
    argv = guest_argv(qemu, tcg(), replace(VM, devices=(vfio_user("mtty0", "mtty"),)))
    assert argv[:3] == qemu.command
    for alone in ("-nodefaults", "-no-user-config", "-no-reboot"):
        assert argv.count(alone) == 1
    assert values(argv, "-display") == ["none"]
    assert values(argv, "-machine") == ["pc,memory-backend=ram"]
    assert values(argv, "-object") == ["memory-backend-memfd,id=ram,size=256M,share=on"]
    assert values(argv, "-m") == ["256M"]
    assert values(argv, "-kernel") == ["/k"]
    assert values(argv, "-initrd") == ["/i"]
    assert values(argv, "-append") == [VM.cmdline]
    assert values(argv, "-qmp") == ["chardev:qmp"]
    assert values(argv, "-serial") == ["chardev:ttyS0"]
    assert devices(argv)[-1] == {
        "driver": "vfio-user-pci",
        "id": "mtty0",
        "addr": "05.0",
        "socket": {"type": "unix", "path": "{socket:mtty}"},
        "x-msg-timeout": 60000,
    }


def test_memory_is_shared_only_for_a_device_that_reaches_into_it(qemu: Qemu) -> None:
    argv = guest_argv(
        qemu, tcg(), replace(VM, devices=(vfio_user("mtty0", "mtty", dma=False), vfio_pci("e", host="x")))
    )
    assert values(argv, "-machine") == ["pc"]
    assert values(argv, "-object") == []


@pytest.mark.parametrize("virtio_serial", [True, False])
def test_the_streams_are_those_that_the_arguments_speak_of(qemu: Qemu, virtio_serial: bool) -> None:
    vm = replace(VM, virtio_serial=virtio_serial)
    argv = guest_argv(qemu, tcg(), vm)
    assert sorted(re.findall(r"\{stream:(\w+)\}", " ".join(argv))) == sorted(streams(vm))
    for name in streams(vm):
        assert f"socket,id={name},fd={{stream:{name}}}" in values(argv, "-chardev")


def test_the_agent_has_a_port_of_its_own_and_the_slots_are_fixed(qemu: Qemu) -> None:
    made = {device["driver"]: device for device in devices(guest_argv(qemu, tcg(), VM))}
    assert made["virtio-serial-pci"]["addr"] == "04.0"
    assert made["virtserialport"]["name"] == "passthru.agent"
    assert (made["virtserialport"]["chardev"], made["virtconsole"]["chardev"]) == ("agent", "shell")


def test_pvpanic_only_where_qemu_has_it(qemu: Qemu) -> None:
    without = replace(qemu, devices=frozenset[str]())
    assert {"driver": "pvpanic"} in devices(guest_argv(qemu, tcg(), VM))
    assert {"driver": "pvpanic"} not in devices(guest_argv(without, tcg(), VM))


def test_accelerators_bring_their_processor(qemu: Qemu) -> None:
    argv = guest_argv(qemu, kvm(), VM)
    assert values(argv, "-accel") == ["kvm"]
    assert values(argv, "-cpu") == ["host"]
    assert values(guest_argv(qemu, tcg(), VM), "-accel") == ["tcg,thread=multi"]


def test_the_users_own_arguments_come_last(qemu: Qemu) -> None:
    assert guest_argv(qemu, tcg(), replace(VM, extra=("-d", "guest_errors")))[-2:] == ("-d", "guest_errors")


def test_nested_properties_are_json() -> None:
    device = Device("edu", {"dma_mask": 2**40, "nested": {"on": True}})
    assert json.loads(device.as_argument()) == {"driver": "edu", "dma_mask": 2**40, "nested": {"on": True}}


def test_plain_properties_are_in_the_form_that_every_qemu_reads() -> None:
    device = Device("edu", {"id": "a,b=c", "dma_mask": 2**40, "on": True, "off": False})
    assert device.as_argument() == f"edu,id=a,,b=c,dma_mask={2**40},on=on,off=off"
    assert Device("pvpanic").as_argument() == "pvpanic"


def test_a_kernel_device_by_its_properties() -> None:
    device = vfio_pci("nic", slot="06.0", sysfsdev="/sys/x", x_no_mmap=True)
    assert device.as_argument() == "vfio-pci,id=nic,addr=06.0,sysfsdev=/sys/x,x-no-mmap=on"


def test_the_command_line_ends_with_the_callers_words() -> None:
    words = command_line("quiet", "console=hvc0").split()
    assert words[:2] == ["console=ttyS0", "panic=-1"]
    assert words[-2:] == ["quiet", "console=hvc0"]
    assert command_line(arch="aarch64") == "console=ttyAMA0 panic=-1"


def test_what_qemu_lacks_is_named(qemu: Qemu) -> None:
    with pytest.raises(Unusable, match=r"QEMU 11\.1\.3 \(/opt/qemu\) has no machine virt;"):
        guest_argv(qemu, tcg(), replace(VM, machine="virt"))
    with pytest.raises(Unusable, match=r"has no edu and no igb;"):
        guest_argv(qemu, tcg(), replace(VM, devices=(Device("igb"), Device("edu"))))
