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
from passthru.qemu.argv import GUEST_LINES, Device, Line, Vm, command_line, guest_argv, streams, vfio_pci, vfio_user
from passthru.run.machine import device_arguments

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


@pytest.mark.parametrize("lines", [GUEST_LINES, (), (Line("a", "port.a"), Line("b", "port.b"))])
def test_the_streams_are_those_that_the_arguments_speak_of(qemu: Qemu, lines: tuple[Line, ...]) -> None:
    vm = replace(VM, lines=lines, devices=(Device("edu", {"id": "e", "chardev": "wire"}, streams=("wire",)),))
    qemu = replace(qemu, devices=qemu.devices | {"edu"})
    argv = guest_argv(qemu, tcg(), vm)
    assert sorted(re.findall(r"\{stream:(\w+)\}", " ".join(argv))) == sorted(streams(vm))
    for name in streams(vm):
        assert f"socket,id={name},fd={{stream:{name}}}" in values(argv, "-chardev")


def test_the_agent_has_a_port_of_its_own_and_the_slots_are_fixed(qemu: Qemu) -> None:
    made = {device["driver"]: device for device in devices(guest_argv(qemu, tcg(), VM))}
    assert made["virtio-serial-pci"]["addr"] == "04.0"
    assert made["virtserialport"]["name"] == "passthru.agent"
    assert (made["virtserialport"]["chardev"], made["virtconsole"]["chardev"]) == ("agent", "shell")


def test_ports_count_from_one_as_zero_is_for_a_console(qemu: Qemu) -> None:
    for lines, numbers, most in (
        ((Line("a", "port.a"), Line("b", "port.b")), [1, 2], 3),
        ((Line("a", "port.a"), Line("c")), [0, 1], 2),
    ):
        argv = guest_argv(qemu, tcg(), replace(VM, lines=lines, lines_slot="02.0"))
        bus, *ends = [device for device in devices(argv) if device["driver"].startswith("virt")]
        assert (bus["addr"], bus["max_ports"]) == ("02.0", str(most))
        assert [int(end["nr"]) for end in ends] == numbers


def test_backends_stand_before_the_devices_and_each_is_one(qemu: Qemu) -> None:
    cards = tuple(vfio_pci(name, sysfsdev=f"/sys/{name}", iommufd=True) for name in ("a", "b"))
    argv = guest_argv(qemu, tcg(), replace(VM, devices=cards))
    assert values(argv, "-object") == ["iommufd,id=iommufd0"]
    assert argv.index("-object") < argv.index("-device")
    assert [device["iommufd"] for device in devices(argv)[-2:]] == ["iommufd0"] * 2


def test_iommufd_where_qemu_knows_nothing_of_it(qemu: Qemu) -> None:
    vm = replace(VM, devices=(vfio_pci("a", host="0000:00:05.0", iommufd=True),))
    with pytest.raises(Unusable, match=r"QEMU 8\.2\.0 \(/opt/qemu\) has no iommufd; name another QEMU"):
        guest_argv(replace(qemu, version="8.2.0"), tcg(), vm)


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


def test_a_kernel_device_by_its_properties(qemu: Qemu) -> None:
    device = vfio_pci("nic", slot="06.0", sysfsdev="/sys/x", properties={"x-no-mmap": True})
    assert device.as_argument() == "vfio-pci,id=nic,addr=06.0,sysfsdev=/sys/x,x-no-mmap=on"
    assert vfio_pci("nic", host="0000:01:00.0").properties == {"id": "nic", "addr": "05.0", "host": "0000:01:00.0"}
    for host, sysfsdev in (("", ""), ("a", "b")):
        with pytest.raises(ValueError, match="by host or by sysfsdev"):
            vfio_pci("nic", host=host, sysfsdev=sysfsdev)


@pytest.mark.parametrize("version", ["6.1.1", "6.2.0", "11.1.3"])
def test_a_kernel_device_is_plugged_in_again_as_it_was(qemu: Qemu, version: str) -> None:
    device = vfio_pci("nic", sysfsdev="/sys/a,b", properties={"x-no-mmap": True, "bootindex": 3})
    argv = guest_argv(replace(qemu, version=version), tcg(), replace(VM, devices=(device,)))
    again = device_arguments(argv)["nic"]
    as_json = {"driver": "vfio-pci", **device.properties}
    as_text = {**as_json, "x-no-mmap": "on", "bootindex": "3"}
    assert again == (as_text if version == "6.1.1" else as_json)


def test_the_command_line_ends_with_the_callers_words() -> None:
    words = command_line("quiet", "console=hvc0").split()
    assert words[:2] == ["console=ttyS0", "panic=-1"]
    assert words[-2:] == ["quiet", "console=hvc0"]
    assert command_line(arch="aarch64") == "console=ttyAMA0 panic=-1 cryptomgr.notests"


def test_what_qemu_lacks_is_named(qemu: Qemu) -> None:
    with pytest.raises(Unusable, match=r"QEMU 11\.1\.3 \(/opt/qemu\) has no machine virt;"):
        guest_argv(qemu, tcg(), replace(VM, machine="virt"))
    with pytest.raises(Unusable, match=r"has no edu and no igb;"):
        guest_argv(qemu, tcg(), replace(VM, devices=(Device("igb"), Device("edu"))))
