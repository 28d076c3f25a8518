# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that is a directory: its sysfs, and a kernel that reacts to what is written there as Linux does.

What it does is what drivers/base/{bus,dd}.c, drivers/pci/{pci-driver,iov,pci-sysfs}.c and drivers/vfio/mdev do.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.worker.descriptors import tidy_standard
from passthru.worker.devices.options import take_options
from passthru.worker.devices.system import System
from passthru.worker.service import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RELEASE = "6.12.0-fake"
# A worker on such a machine; --fd and --roots are to be added. Without the site module, which is half of its start-up.
COMMAND = (
    sys.executable,
    "-S",
    "-c",
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r});"
    " from tests.unit.worker.fake_sysfs import main; sys.exit(main())",
)
PORTS = 24
NOIOMMU = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
_TYPES = {"mtty-1": ("Single port serial", 1), "mtty-2": ("Dual port serial", 2)}


def _refuse(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


class FakeSystem(System):
    """The access of a worker to such a machine."""

    def write(self, path: str, text: str) -> None:
        """Write, and let the kernel react."""
        directory, _, name = self.real(path).rpartition("/")
        if not Path(self.path(path)).exists():
            raise _refuse(errno.ENOENT, path)
        machine = Machine(Path(self.root))
        owner = directory.rpartition("/")[2]
        match name:
            case "unbind":
                machine.unbind(text, owner)
            case "bind":
                machine.bind(text, owner)
            case "drivers_probe":
                machine.probe(text)
            case "driver_override":
                (machine.device(owner) / name).write_text((text.strip() or "(null)") + "\n")
            case "sriov_numvfs":
                machine.set_functions(owner, int(text))
            case "create":
                machine.create_mdev(directory.split("/")[-3], owner, text)
            case "remove":
                machine.remove_mdev(owner)
            case _:
                super().write(path, text)

    def claimed(self, path: str) -> bool:
        """A file that says "busy" is open, or mounted."""
        return self.read(path) == "busy"

    def may(self, path: str, mode: int) -> bool:
        """What the file's owner may, although a test be root."""
        allowed = Path(self.path(path)).stat().st_mode >> 6 if self.exists(path) else 0
        return allowed & mode == mode

    def holders(self, path: str) -> list[int]:
        return [4711] if self.claimed(path) else []

    def load_module(self, name: str, parameters: Mapping[str, str]) -> None:
        Machine(Path(self.root)).load(name.replace("-", "_"), parameters)

    def unload_module(self, name: str) -> None:
        Machine(Path(self.root)).unload(name)


class Machine:
    """The directory, as its kernel changes it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.sys = root / "sys"

    def make(self) -> Machine:
        """An empty machine with an IOMMU, VFIO's modules on disk, and mtty's parent."""
        for path in (
            "sys/bus/pci/devices",
            "sys/bus/pci/drivers",
            "sys/bus/mdev/devices",
            "sys/class/iommu/dmar0",
            "sys/class/mdev_bus",
            "sys/class/net",
            "sys/class/block",
            "sys/class/tty",
            "sys/class/virtio-ports",
            "sys/kernel/iommu_groups",
            "sys/module/mdev",
            "sys/devices/pci0000:00",
            "sys/firmware/acpi/tables",
            "proc/self",
            "proc/net",
            "dev/vfio",
            f"lib/modules/{RELEASE}",
        ):
            (self.root / path).mkdir(parents=True)
        self.text("sys/bus/pci/drivers_probe", "")
        self.text("sys/firmware/acpi/tables/DMAR", "")
        self.text("proc/sys/kernel/random/boot_id", "0d0c0b0a-boot")
        self.text("proc/sys/kernel/osrelease", RELEASE)
        self.text("proc/cmdline", "quiet intel_iommu=on")
        self.text("proc/interrupts", "  4:  0  IR-IO-APIC  4-edge  ttyS0")
        self.text("proc/consoles", "ttyS0  -W- (EC p a)  4:64")
        self.text("proc/self/mountinfo", "21 1 0:19 / / rw - tmpfs none rw")
        self.text("proc/self/status", "CapEff:\t000001ffffffffff")
        self.text("dev/vfio/vfio", "")
        deps = {
            "vfio/vfio": "",
            "vfio/vfio_iommu_type1": "kernel/vfio/vfio.ko",
            "vfio/pci/vfio-pci-core": "kernel/vfio/vfio.ko",
            "vfio/pci/vfio-pci": "kernel/vfio/pci/vfio-pci-core.ko kernel/vfio/vfio.ko",
        }
        lines = [f"kernel/{name}.ko: {needs}" for name, needs in deps.items()]
        self.text(f"lib/modules/{RELEASE}/modules.dep", "\n".join(lines))
        self.text(f"lib/modules/{RELEASE}/modules.builtin", "kernel/drivers/tty/serial/8250/8250_pci.ko")
        return self

    def text(self, path: str, text: str) -> None:
        """A file of one line."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def driver(self, name: str, matches: Sequence[str], module: str = "") -> None:
        """A registered PCI driver that takes devices of these "vendor:device", by its module."""
        directory = self.sys / "bus/pci/drivers" / name
        directory.mkdir()
        for file in ("bind", "unbind"):
            (directory / file).write_text("")
        (directory / ".matches").write_text(json.dumps(list(matches)))
        if module:
            drivers = self.sys / "module" / module / "drivers"
            drivers.mkdir(parents=True, exist_ok=True)
            (drivers / f"pci:{name}").symlink_to(f"../../../bus/pci/drivers/{name}")

    def add(
        self,
        address: str,
        kind: str,
        group: int | None,
        *,
        driver: str = "",
        klass: str = "ff0000",
        behind: str = "",
        **attributes: str,
    ) -> None:
        """A PCI device, maybe with a driver, on the root bus or behind a bridge."""
        where = self.device(behind) if behind else self.sys / "devices/pci0000:00"
        directory = where / address
        directory.mkdir()
        vendor, device = kind.split(":")
        attributes = {
            "vendor": f"0x{vendor}",
            "device": f"0x{device}",
            "class": f"0x{klass}",
            "driver_override": "(null)",
        } | attributes
        for name, value in attributes.items():
            (directory / name).write_text(value + "\n")
        self._link(self.sys / "bus/pci/devices" / address, directory)
        if group is not None:
            members = self.sys / "kernel/iommu_groups" / str(group) / "devices"
            members.mkdir(parents=True, exist_ok=True)
            self._link(directory / "iommu_group", members.parent)
            self._link(members / address, directory)
        if driver:
            self._attach(address, driver)

    def parent(self, name: str) -> None:
        """A parent of mdevs like mtty: 24 ports, shared by its types."""
        directory = self.sys / "devices/virtual" / name / name
        for kind, (words, _) in _TYPES.items():
            (directory / "mdev_supported_types" / kind / "devices").mkdir(parents=True)
            for file, value in (("name", words), ("device_api", "vfio-pci"), ("create", "")):
                (directory / "mdev_supported_types" / kind / file).write_text(value + "\n")
        self._link(self.sys / "class/mdev_bus" / name, directory)
        self._count(directory)

    def below(self, address: str, kind: str, name: str, **attributes: str) -> None:
        """A device of a class (net, block, tty) under a PCI device."""
        directory = self.device(address) / kind / name
        directory.mkdir(parents=True)
        for file, value in attributes.items():
            (directory / file).write_text(value + "\n")
        self._link(self.sys / "class" / kind / name, directory)

    def device(self, address: str) -> Path:
        """Its directory."""
        return (self.sys / "bus/pci/devices" / address).resolve()

    def driver_of(self, address: str) -> str | None:
        """What it is bound to."""
        link = self.device(address) / "driver"
        return link.resolve().name if link.is_symlink() else None

    def unbind(self, address: str, driver: str) -> None:
        if not (self.sys / "bus/pci/devices" / address).exists() or self.driver_of(address) != driver:
            raise _refuse(errno.ENODEV, address)
        group = self._group(address)
        own = self.root / f"dev/vfio/noiommu-{group}"
        file = own if own.exists() else self.root / f"dev/vfio/{group}"
        if driver == "vfio-pci" and file.read_text().strip() == "busy":
            raise AssertionError(f"the kernel would wait without end for whoever has {address} open")
        (self.device(address) / "driver").unlink()
        (self.sys / "bus/pci/drivers" / driver / address).unlink()
        if own.exists():
            own.unlink()
            (self.device(address) / "iommu_group").unlink()
            shutil.rmtree(self.sys / "kernel/iommu_groups" / str(group))
            return
        members = _names(self.sys / "kernel/iommu_groups" / str(group) / "devices") if group else []
        if driver == "vfio-pci" and not any(self.driver_of(member) == "vfio-pci" for member in members):
            (self.root / f"dev/vfio/{group}").unlink()

    def bind(self, address: str, driver: str) -> None:
        if not (self.sys / "bus/pci/devices" / address).exists() or not self._matches(address, driver):
            raise _refuse(errno.ENODEV, address)
        if self.driver_of(address):
            raise _refuse(errno.EBUSY, address)
        self._attach(address, driver)

    def probe(self, address: str) -> None:
        if not (self.sys / "bus/pci/devices" / address).exists():
            raise _refuse(errno.ENODEV, address)
        if self.driver_of(address) is None:
            for driver in _names(self.sys / "bus/pci/drivers"):
                if self._matches(address, driver) and self._may_probe(address):
                    return self._attach(address, driver)
        return None

    def set_functions(self, address: str, count: int) -> None:
        device = self.device(address)
        now = int((device / "sriov_numvfs").read_text())
        if count > int((device / "sriov_totalvfs").read_text()):
            raise _refuse(errno.ERANGE, address)
        if self.driver_of(address) is None:
            raise _refuse(errno.ENOENT, address)
        if now and count:
            raise _refuse(errno.EBUSY, address)
        for index in range(now):
            virtual = (device / f"virtfn{index}").resolve().name
            if driver := self.driver_of(virtual):
                self.unbind(virtual, driver)
            group = self.sys / "kernel/iommu_groups" / str(self._group(virtual))
            shutil.rmtree(group)
            shutil.rmtree(self.device(virtual))
            (self.sys / "bus/pci/devices" / virtual).unlink()
            (device / f"virtfn{index}").unlink()
        for index in range(count):
            virtual = f"{address[:-4]}10.{index}"
            self.add(virtual, "8086:10ca", 40 + index)
            self._link(self.device(virtual) / "physfn", device)
            self._link(device / f"virtfn{index}", self.device(virtual))
            self.probe(virtual)
        (device / "sriov_numvfs").write_text(f"{count}\n")

    def create_mdev(self, parent: str, kind: str, uuid: str) -> None:
        directory = (self.sys / "class/mdev_bus" / parent).resolve()
        if (self.sys / "bus/mdev/devices" / uuid).exists():
            raise _refuse(errno.EEXIST, uuid)
        if int((directory / "mdev_supported_types" / kind / "available_instances").read_text()) == 0:
            raise _refuse(errno.ENOSPC, uuid)
        mdev = directory / uuid
        mdev.mkdir()
        for name in ("remove", "assign_domain"):
            (mdev / name).write_text("")
        self._link(mdev / "mdev_type", directory / "mdev_supported_types" / kind)
        self._link(directory / "mdev_supported_types" / kind / "devices" / uuid, mdev)
        self._link(self.sys / "bus/mdev/devices" / uuid, mdev)
        groups = self.sys / "kernel/iommu_groups"
        group = groups / str(1 + max(100, *map(int, _names(groups))))
        (group / "devices").mkdir(parents=True)
        self._link(group / "devices" / uuid, mdev)
        self._link(mdev / "iommu_group", group)
        self.text(f"dev/vfio/{group.name}", "")
        self._count(directory)

    def remove_mdev(self, uuid: str) -> None:
        mdev = (self.sys / "bus/mdev/devices" / uuid).resolve()
        group = (mdev / "iommu_group").resolve()
        if (self.root / "dev/vfio" / group.name).read_text().strip() == "busy":
            raise AssertionError(f"the kernel would wait without end for whoever has {uuid} open")
        (self.root / "dev/vfio" / group.name).unlink()
        ((mdev / "mdev_type").resolve() / "devices" / uuid).unlink()
        (self.sys / "bus/mdev/devices" / uuid).unlink()
        shutil.rmtree(group)
        shutil.rmtree(mdev)
        self._count(mdev.parent)

    def load(self, name: str, parameters: Mapping[str, str]) -> None:
        needs = {"vfio_iommu_type1": ["vfio"], "vfio_pci": ["vfio", "vfio_pci_core"]}
        if name not in (*needs, "vfio"):
            raise _refuse(errno.ENOENT, f"modprobe: FATAL: Module {name} not found")
        for module in (*needs.get(name, ()), name):
            (self.sys / "module" / module).mkdir(exist_ok=True)
        if (self.root / "noiommu").exists() and not (self.root / NOIOMMU).exists():
            self.text(NOIOMMU, "N")
        if name == "vfio_iommu_type1":
            value = "Y" if parameters.get("allow_unsafe_interrupts") == "1" else "N"
            self.text(f"sys/module/{name}/parameters/allow_unsafe_interrupts", value)
        if name == "vfio_pci":
            self.driver("vfio-pci", [], "vfio_pci")

    def unload(self, name: str) -> None:
        users = {"vfio": ("vfio_iommu_type1", "vfio_pci_core"), "vfio_pci_core": ("vfio_pci",)}
        if any((self.sys / "module" / user).exists() for user in users.get(name, ())):
            raise _refuse(errno.EWOULDBLOCK, name)
        if name == "vfio_pci":
            if any(":" in entry for entry in _names(self.sys / "bus/pci/drivers/vfio-pci")):
                raise AssertionError(f"unloading {name} would take devices away")
            shutil.rmtree(self.sys / "bus/pci/drivers/vfio-pci")
        shutil.rmtree(self.sys / "module" / name)

    def _matches(self, address: str, driver: str) -> bool:
        override = (self.device(address) / "driver_override").read_text().strip()
        if override != "(null)":
            return override == driver
        kind = ":".join((self.device(address) / name).read_text().strip()[2:] for name in ("vendor", "device"))
        return kind in json.loads((self.sys / "bus/pci/drivers" / driver / ".matches").read_text())

    def _may_probe(self, address: str) -> bool:
        device = self.device(address)
        groupless = not (device / "iommu_group").exists() and not self._without_iommu()
        if (device / "driver_override").read_text().strip() == "vfio-pci" and (
            (device / "class").read_text().startswith("0x0604") or groupless
        ):
            return False
        autoprobe = device / "physfn/sriov_drivers_autoprobe"
        overridden = (device / "driver_override").read_text().strip() != "(null)"
        return overridden or not autoprobe.exists() or autoprobe.read_text().strip() == "1"

    def _attach(self, address: str, driver: str) -> None:
        directory = self.sys / "bus/pci/drivers" / driver
        self._link(self.device(address) / "driver", directory)
        self._link(directory / address, self.device(address))
        group = self._group(address)
        if driver == "vfio-pci" and group is None:
            groups = self.sys / "kernel/iommu_groups"
            group = str(1 + max(-1, *map(int, _names(groups)), -1))
            self.text(f"sys/kernel/iommu_groups/{group}/name", "vfio-noiommu")
            (groups / group / "devices").mkdir()
            self._link(self.device(address) / "iommu_group", groups / group)
            self._link(groups / group / "devices" / address, self.device(address))
            self.text(f"dev/vfio/noiommu-{group}", "")
            return
        if driver == "vfio-pci" and not (self.root / f"dev/vfio/{group}").exists():
            self.text(f"dev/vfio/{group}", "")

    def without_iommu(self, *, built: bool = True) -> None:
        """Make it a machine without an IOMMU, whose VFIO can do without where that is ``built``."""
        shutil.rmtree(self.sys / "class/iommu/dmar0")
        for device in (self.sys / "bus/pci/devices").iterdir():
            (device / "iommu_group").unlink(missing_ok=True)
        for group in (self.sys / "kernel/iommu_groups").iterdir():
            shutil.rmtree(group)
        if built:
            self.text("noiommu", "")

    def bind_by_hand(self, address: str) -> None:
        """Give a device to vfio-pci, as a user does."""
        if driver := self.driver_of(address):
            self.unbind(address, driver)
        (self.device(address) / "driver_override").write_text("vfio-pci\n")
        self.probe(address)

    def _without_iommu(self) -> bool:
        parameter = self.root / NOIOMMU
        return parameter.exists() and parameter.read_text().strip() == "Y"

    def _group(self, address: str) -> str | None:
        link = self.device(address) / "iommu_group"
        return link.resolve().name if link.is_symlink() else None

    def _count(self, parent: Path) -> None:
        used = sum(
            size * len(_names(parent / "mdev_supported_types" / kind / "devices")) for kind, (_, size) in _TYPES.items()
        )
        for kind, (_, size) in _TYPES.items():
            left = (PORTS - used) // size
            (parent / "mdev_supported_types" / kind / "available_instances").write_text(f"{left}\n")

    @staticmethod
    def _link(link: Path, target: Path) -> None:
        link.symlink_to(os.path.relpath(target, link.parent))


def usual_machine(root: Path) -> Machine:
    """A machine with a serial card, edu, three functions behind a bridge, a card with virtual functions, mtty."""
    machine = Machine(root).make()
    machine.driver("serial", ["1b36:0002", "1b36:0003"])
    machine.driver("shpchp", ["1b36:000e"])
    machine.driver("pcieport", [])
    machine.driver("igb", ["8086:10c9"])
    machine.driver("igbvf", ["8086:10ca"])
    machine.driver("e1000", ["8086:100e"])
    machine.add("0000:00:04.0", "1b36:000c", 4, driver="pcieport", klass="060400", secondary_bus_number="2")
    machine.add("0000:00:05.0", "1b36:0002", 5, driver="serial", klass="070002")
    machine.add("0000:00:06.0", "1234:11e8", 6)
    machine.add("0000:00:07.0", "1b36:000e", 7, driver="shpchp", klass="060400", secondary_bus_number="1")
    machine.add("0000:01:01.0", "1b36:0003", 7, driver="serial", klass="070002", behind="0000:00:07.0")
    machine.add("0000:01:02.0", "8086:100e", 7, driver="e1000", klass="020000", behind="0000:00:07.0")
    machine.add("0000:01:02.1", "1b36:0010", 7, behind="0000:00:07.0", driver_override="kept")
    sriov = {"sriov_totalvfs": "7", "sriov_numvfs": "0", "sriov_drivers_autoprobe": "1"}
    machine.add("0000:00:08.0", "8086:10c9", 8, driver="igb", klass="020000", **sriov)
    machine.below("0000:00:08.0", "net", "card0", flags="0x1002")
    machine.parent("mtty")
    return machine


def main() -> int:
    words, make_system = take_options(sys.argv[1:], FakeSystem)
    assert words[0] == "--fd", words
    return run(tidy_standard(int(words[1])), make_system)
