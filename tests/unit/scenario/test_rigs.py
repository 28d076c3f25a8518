# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios whose devices are the host kernel's: the rig, its hardware, and what is assigned of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from jsonschema import Draft202012Validator

from passthru.qemu.hardware import Hardware
from passthru.scenario.hosts import LocalHost, RigHost
from passthru.scenario.loading import load, resolved
from passthru.scenario.passed_through import MdevDevice, PciDevice
from passthru.scenario.schema import schema
from tests.unit.scenario.test_errors import CHECK, told

if TYPE_CHECKING:
    from pathlib import Path

RIG = '[host]\nkind = "rig"\n'  # lines 1 and 2
UART = RIG + '[host.hardware.uart]\ndevice = "pci-serial"\n'  # lines 3 and 4
PCI = '[device.a]\nbus = "pci"\nhost = "uart"\n'  # lines 5 to 7 after UART
MDEV = '[device.m]\nbus = "mdev"\nparent = "mtty"\ntype = "mtty-2"\n'
UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.toml"


def test_a_rig_has_defaults(path: Path) -> None:
    path.write_text(RIG + CHECK)
    host = load(path).host
    assert isinstance(host, RigHost)
    assert (host.kernel, host.emulator, host.iommu, host.memory, host.cpus) == (
        "debian:bookworm",
        "auto",
        "intel",
        2048,
        2,
    )
    assert (host.modules, host.unsafe_interrupts, host.hardware) == ((), False, {})
    path.write_text(CHECK)
    assert load(path).host == LocalHost()


def test_its_hardware_is_as_qemu_is_told(path: Path) -> None:
    path.write_text(UART + 'place = "bridge"\nslot = "03"\nfunction = 0\nproperties = { x = 1 }\n' + CHECK)
    host = load(path, ["host.hardware.nic.device=igb"]).host
    assert isinstance(host, RigHost)
    assert host.pieces == (Hardware("uart", "pci-serial", "bridge", "03", 0, {"x": 1}), Hardware("nic", "igb"))


def test_directories_of_modules_are_relative_to_the_file(path: Path) -> None:
    path.write_text(RIG + 'modules = ["mtty", "./mine", "/else/where"]\n' + CHECK)
    host = load(path).host
    assert isinstance(host, RigHost)
    assert host.modules == ("mtty", str(path.parent / "mine"), "/else/where")


@pytest.mark.parametrize(("kind", "ports"), [("mtty-1", 1), ("mtty-2", 2)])
def test_an_mdevs_type_says_what_the_device_is_like(path: Path, kind: str, ports: int) -> None:
    path.write_text(MDEV.replace("mtty-2", kind))
    device = load(path).device["m"]
    assert isinstance(device, MdevDevice)
    assert (device.model, device.options) == ("mtty", {"ports": ports, "fifo": "faithful"})
    assert (device.parent, device.type, device.uuid, device.container) == ("mtty", kind, None, "type1")


def test_a_type_that_nobody_knows_is_like_nothing(path: Path) -> None:
    path.write_text(MDEV.replace("mtty-2", "i915-GVTg_V5_4").replace('"mtty"', '"0000:00:02.0"'))
    assert (load(path).device["m"].model, load(path).device["m"].options) == ("", {})
    path.write_text(MDEV.replace("mtty-2", "mtty-9"))  # whether the parent has it the host says
    assert load(path).device["m"].model == "mtty"
    assert load(path, ["device.m.model=mtty"]).device["m"].options["ports"] == 2


def test_a_uuid_is_kept_as_the_kernel_writes_it(path: Path) -> None:
    path.write_text(MDEV + f'uuid = "{UUID.upper()}"\n')
    device = load(path).device["m"]
    assert isinstance(device, MdevDevice)
    assert device.uuid == UUID


@pytest.mark.parametrize("host", ["0000:00:05.0", "00:05.0", "00:06.0/00.0", "1234:11E8"])
def test_a_function_is_named_by_address_or_ids_on_any_host(path: Path, host: str) -> None:
    for begin in ("", RIG):
        path.write_text(begin + PCI.replace("uart", host))
        device = load(path).device["a"]
        assert isinstance(device, PciDevice)
        assert (device.host, device.hardware) == (host.lower(), "")


def test_a_card_has_as_many_virtual_functions_as_are_assigned(path: Path) -> None:
    text = RIG + '[host.hardware.nic]\ndevice = "igb"\n'
    text += "".join(f'[device.v{vf}]\nbus = "pci"\nhost = "nic"\nvf = {vf}\n' for vf in (0, 2))
    path.write_text(text)
    found = load(path).passed_through
    assert {name: getattr(device, "vfs", None) for name, device in found.items()} == {"v0": 3, "v2": 3}
    assert found["v0"].address == "05.0"
    assert load(path).served == {}


def test_the_guests_qemu_is_that_of_the_rig_where_it_names_one(path: Path) -> None:
    path.write_text(RIG + CHECK)
    assert load(path).guest_qemu == "auto"
    assert load(path, ["guest.qemu=/a"]).guest_qemu == "/a"
    assert load(path, ["host.qemu=debian:sid"]).guest_qemu == "debian:sid"


def test_a_resolved_rig_is_valid_and_the_same(path: Path) -> None:
    path.write_text(UART + PCI + MDEV + 'container = "iommufd"\n')
    scenario = load(path, [f"device.m.uuid={UUID}", "device.a.vf=0", "host.iommu=none", "host.modules=['mtty']"])
    file = path.with_suffix(".json")
    file.write_text(json.dumps(resolved(scenario)))
    assert load(file) == scenario
    validator = Draft202012Validator(schema())
    validator.validate(json.loads(file.read_text()))
    wrong: list[tuple[tuple[str, ...], object]] = [
        (("host", "iommu"), "arm"),
        (("host", "hardware"), {"uart": {"devise": "x"}}),
        (("host", "modlues"), []),
        (("host", "kind"), "local"),
        (("device", "m", "parent"), 3),
        (("device", "m", "uuid"), "1"),
        (("device", "m", "container"), "type2"),
        (("device", "m", "vf"), 0),
        (("device", "m", "companion"), {"socket": "/x"}),
        (("device", "a", "host"), "0:5"),
    ]
    for keys, value in wrong:
        tree = table = json.loads(file.read_text())
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value
        assert not validator.is_valid(tree), keys


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[host]\niommu = 'intel'\n" + CHECK, 's.toml:2: host.iommu: is for a rig; add kind = "rig"'),
        ("[host.hardware.x]\ndevice = 'edu'\n" + CHECK, "s.toml:1: host.hardware: is for a rig; add kind"),
        ("[host]\nimmu = 'intel'\n" + CHECK, "s.toml:2: host.immu: is no known key; known keys are kind"),
        ("host = 3\n" + CHECK, "s.toml:1: host: should be a table"),
        (RIG + "immu = 'x'\n" + CHECK, 's.toml:3: host.immu: is no known key; did you mean "iommu"?'),
        (RIG + "iommu = 'arm'\n" + CHECK, "s.toml:3: host.iommu: should be 'intel', 'amd', 'virtio', 'smmuv3', 'ram"),
        (RIG + "memory = 2048\n" + CHECK, "s.toml:3: host.memory: should be an amount with its unit"),
        (RIG + "modules = ['a b']\n" + CHECK, "s.toml:3: host.modules[0]: should be a word of letters"),
        (RIG + "quirks = ['(']\n" + CHECK, "s.toml:3: host.quirks[0]: is not a regular expression"),
        (RIG + "qemu = '/a'\n[guest]\nqemu = '/b'\n" + CHECK, 's.toml:3: host.qemu: is "/a", and guest.qemu is "/b";'),
        (RIG + "[host.hardware.x]\nplace = 'root'\n", 's.toml:3: host.hardware.x: needs "device" (QEMU'),
        (UART + "place = 'behind'\n", "s.toml:5: host.hardware.uart.place: should be 'root', 'root-port', 'bridge',"),
        (UART + "slot = '5'\n", "s.toml:5: host.hardware.uart.slot: should be two hexadecimal digits, such as"),
        (UART + "slot = '04'\n", 's.toml:5: host.hardware.uart.slot: is no slot for hardware there; those are "05" to'),
        (UART + "function = 8\n", "s.toml:5: host.hardware.uart.function: should be less than or equal to 7, not 8"),
        (UART + "function = 1\n", "s.toml:5: host.hardware.uart.function: needs a slot, which it shares with"),
        (UART + "slot = '06'\nfunction = 1\n", "s.toml:6: host.hardware.uart.function: is 1, and no piece is funct"),
        (UART + "properties = { chardev = 'x' }\n", "s.toml:5: host.hardware.uart.properties.chardev: is set by pas"),
        (
            UART + "slot = '06'\n[host.hardware.b]\ndevice = 'edu'\nslot = '06'\n",
            "s.toml:8: host.hardware.b.slot: is 06 as function 0, where uart is already",
        ),
        (
            UART + "slot = '06'\n[host.hardware.b]\ndevice = 'igb'\nslot = '06'\n",
            "s.toml:8: host.hardware.b.slot: is 06, where uart is already, in another place",
        ),
        (
            UART + PCI.replace('"uart"', '"urat"'),
            's.toml:7: device.a.host: there is no hardware of the rig "urat"; did you mean "uart"? there are: uart',
        ),
        (PCI, 's.toml:3: device.a.host: is "uart", which names hardware of a rig; give an address ("0000:00:05.0"), '),
        (PCI.replace("uart", "0:5.0"), "s.toml:3: device.a.host: should be a name of the rig's hardware, an address ("),
        ('[device.a]\nbus = "pci"\n', "s.toml:1: device.a.host: is missing"),
        (UART + PCI + "vfs = 1\n", 's.toml:5: device.a: has "vfs" and no "vf"'),
        (UART + PCI + "vf = 1\nvfs = 1\n", "s.toml:5: device.a: is to have virtual function 1 of 1, which count f"),
        (UART + PCI + "vf = -1\n", "s.toml:8: device.a.vf: should be greater than or equal to 0, not -1"),
        (UART + PCI + "container = 'type2'\n", "s.toml:8: device.a.container: should be 'type1', 'type1v2'"),
        (UART + PCI + "companion = { socket = '/a' }\n", "s.toml:8: device.a.companion: is no known key; known keys"),
        (UART + PCI + "model = 'mty'\n", 's.toml:8: device.a.model: there is no device model "mty"; did you mean "'),
        (UART + PCI + "properties = { sysfsdev = 'x' }\n", "s.toml:8: device.a.properties.sysfsdev: is set by pas"),
        (UART + PCI + PCI.replace(".a]", ".b]"), 's.toml:10: device.b.host: is "uart", and a is it already'),
        (
            UART + PCI + PCI.replace(".a]", ".b]").replace("uart", "0000:00:05.0"),
            's.toml:10: device.b.host: is "0000:00:05.0", and a is it already',
        ),
        (
            UART + PCI + PCI.replace(".a]", ".b]") + "vf = 0\n",
            's.toml:10: device.b.host: is "uart", and a is it already',
        ),
        (
            UART + PCI + "vf = 1\n" + PCI.replace(".a]", ".b]") + "vf = 1\n",
            's.toml:11: device.b.host: is "uart", and a is the same virtual function already',
        ),
        (
            UART + PCI + "vf = 0\nvfs = 2\n" + PCI.replace(".a]", ".b]") + "vf = 1\nvfs = 3\n",
            "s.toml:14: device.b.vfs: is 3, and 2 for a, which is on the same card",
        ),
        ('[device.m]\nbus = "mdev"\nparent = "mtty"\n', 's.toml:1: device.m: needs both "parent" and "type"'),
        ('[device.m]\nbus = "mdev"\ntype = "mtty-1"\n', "s.toml:1: device.m: needs both"),
        ('[device.m]\nbus = "mdev"\n', 's.toml:1: device.m: needs "parent" and "type" of one that is to be made'),
        (MDEV.replace('"mtty"', '"../mtty"'), "s.toml:3: device.m.parent: should be a name as the kernel has it"),
        (MDEV + 'uuid = "83b8"\n', "s.toml:5: device.m.uuid: should be a UUID, such as 83b8f4f2-509f-382f-3c1e-e6"),
        (
            MDEV + f'uuid = "{UUID}"\n' + MDEV.replace(".m]", ".n]") + f'uuid = "{UUID.upper()}"\n',
            "s.toml:10: device.n.uuid: is that of m already; each mediated device has its own",
        ),
        (MDEV + "ports = 1\n", "s.toml:5: device.m.ports: is 1, and 2 for the type mtty-2"),
        (MDEV + "vf = 1\n", "s.toml:5: device.m.vf: is no known key; known keys are address, bus, container, fifo,"),
        (MDEV + 'address = "04.0"\n', 's.toml:5: device.m.address: should be a slot from "05.0"'),
        (
            MDEV + 'address = "05.0"\n' + MDEV.replace(".m]", ".n]") + 'address = "05.0"\n',
            "s.toml:10: device.n.address: is 05.0, where m is already",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_line_and_key(path: Path, text: str, said: str) -> None:
    (line,) = told(path, text if "device." in text or "check." in text else text + CHECK)
    assert line.startswith(said)


def test_more_hardware_than_there_are_slots(path: Path) -> None:
    text = RIG + "".join(f"[host.hardware.h{number}]\ndevice = 'edu'\n" for number in range(27))
    assert told(path, text + CHECK) == [
        "s.toml:55: host.hardware.h26.slot: has none left: there are too many pieces of hardware"
    ]


def test_mistakes_of_host_and_device_are_told_at_once(path: Path) -> None:
    lines = told(path, RIG + "iommu = 'x'\n" + PCI.replace('"uart"', "3") + MDEV + "container = 1\n")
    assert [line.split(": ")[0] for line in lines] == ["s.toml:3", "s.toml:6", "s.toml:11"]
