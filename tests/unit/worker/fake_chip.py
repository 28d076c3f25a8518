# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with a device tree that is a directory: platform and AMBA devices, and a DPAA2 bus with its containers.

What its kernel does is what drivers/base/{bus,dd}.c, drivers/vfio/platform, drivers/bus/fsl-mc and drivers/vfio/fsl-mc
do; where the real one would crash or wait without end, this one raises AssertionError.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.worker.descriptors import tidy_standard
from passthru.worker.devices.options import take_options
from passthru.worker.service import run
from tests.unit.worker.fake_sysfs import RELEASE, FakeSystem, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

COMMAND = (
    sys.executable,
    "-S",
    "-c",
    f"import sys; sys.path.insert(0, {str(Path(__file__).parents[3])!r});"
    " from tests.unit.worker.fake_chip import main; sys.exit(main())",
)
BUSES = ("platform", "amba", "fsl-mc")
_TREE = "sys/firmware/devicetree/base"
RESET_REQUIRED = "sys/module/vfio_platform/parameters/reset_required"
_VFIO = {"vfio_platform": "platform", "vfio_amba": "amba", "vfio_fsl_mc": "fsl-mc"}


def _refuse(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


class ChipSystem(FakeSystem):
    """The access of a worker to such a machine."""

    def write(self, path: str, text: str) -> None:
        """Write, and let the kernel react."""
        parts = self.real(path).split("/")
        machine = ChipMachine(Path(self.root))
        if not Path(self.path(path)).exists():
            raise _refuse(errno.ENOENT, path)
        match parts:
            case ["", "sys", "bus", bus, "drivers", driver, "bind"] if bus in BUSES:
                machine.bind_on(bus, text, driver)
            case ["", "sys", "bus", bus, "drivers", driver, "unbind"] if bus in BUSES:
                machine.unbind_on(bus, text, driver)
            case ["", "sys", "bus", bus, "drivers_probe"] if bus in BUSES:
                machine.probe_on(bus, text)
            case [*_, "driver_override"] if (Path(self.path(path)).parent / "subsystem").resolve().name in BUSES:
                Path(self.path(path)).write_text((text.strip() or "(null)") + "\n")
            case _:
                super().write(path, text)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        if not self.exists(path):
            raise _refuse(errno.ENOENT, path)
        yield int(path.rpartition(".")[2])

    def ioctl(self, fd: int, request: int, data: bytearray) -> None:
        """The Management Complex, by the portal of a root container."""
        assert (request, len(data), data[2]) == (0xC04052E0, 64, 1)
        token, command = struct.unpack_from("<HH", data, 4)
        container, options, count, number = struct.unpack_from("<IIII", data, 8)
        machine = ChipMachine(Path(self.root))
        match command >> 4:
            case 0x805:
                struct.pack_into("<H", data, 4, container)  # its token
            case 0x157 | 0x158 as code:
                assert (options & 1, count) == (1, 1)
                item = f"{data[24:40].rstrip(bytes(1)).decode()}.{number}"
                source, target = (token, container) if code == 0x157 else (container, token)
                machine.move_object(item, f"dprc.{source}", f"dprc.{target}")
            case code:
                assert (code, token) == (0x800, fd)

    def load_module(self, name: str, parameters: Mapping[str, str]) -> None:
        ChipMachine(Path(self.root)).load(name.replace("-", "_"), parameters)

    def unload_module(self, name: str) -> None:
        ChipMachine(Path(self.root)).unload(name)


class ChipMachine(Machine):
    """The directory, as its kernel changes it."""

    def make(self) -> ChipMachine:
        """An empty machine with an SMMU and the modules of VFIO's on disk."""
        super().make()
        for bus in BUSES:
            for name in ("devices", "drivers"):
                (self.sys / "bus" / bus / name).mkdir(parents=True)
            self.text(f"sys/bus/{bus}/drivers_probe", "")
        (self.sys / "class/iommu/dmar0").rename(self.sys / "class/iommu/smmu3.0x9050000")
        (self.root / "sys/firmware/acpi/tables/DMAR").unlink()
        self.text("proc/interrupts", " 12: 0 GICv3 27 Level arch_timer\n 30: 0 ITS-PCI-MSI-0000:00:02.0 0 Edge virtio0")
        self.text("proc/consoles", "ttyAMA0  -W- (EC a)  204:64")
        self.of_release(RELEASE)
        return self

    def of_release(self, release: str) -> None:
        """Give it the modules of a kernel of this release, and that kernel."""
        base = "kernel/vfio/platform/vfio-platform-base.ko kernel/vfio/vfio.ko"
        lines = {
            "vfio/vfio": "",
            "vfio/vfio_iommu_type1": "kernel/vfio/vfio.ko",
            "vfio/platform/vfio-platform-base": "kernel/vfio/vfio.ko",
            "vfio/platform/vfio-platform": base,
            "vfio/platform/vfio-amba": base,
            "vfio/fsl-mc/vfio-fsl-mc": "kernel/vfio/vfio.ko",
        }
        text = "\n".join(f"kernel/{name}.ko: {needs}" for name, needs in lines.items())
        self.text(f"lib/modules/{release}/modules.dep", text)
        self.text("proc/sys/kernel/osrelease", release)

    def of_chip(self, bus: str, name: str, matches: Sequence[str] = (), *, bind_files: bool = True) -> None:
        """A registered driver of a bus, for devices that are ``compatible`` (objects: that are of that type)."""
        directory = self.sys / "bus" / bus / "drivers" / name
        directory.mkdir()
        for file in ("bind", "unbind") if bind_files else ():
            (directory / file).write_text("")
        (directory / ".matches").write_text(json.dumps(list(matches)))

    def node(
        self,
        bus: str,
        name: str,
        path: str,
        compatible: Sequence[str],
        *,
        group: int | None = None,
        stream: int | None = None,
        driver: str = "",
        isolated: bool = True,
    ) -> None:
        """A device of the tree: in a ``group`` already, or in that one (``stream``) when a driver is first tried."""
        node = self.root / _TREE / path.strip("/")
        node.mkdir(parents=True)
        (node / "compatible").write_text("".join(f"{text}\0" for text in compatible))
        if group is not None or stream is not None:
            (node / "iommus").write_text("\0")
        if isolated:
            (node / "msi-parent").write_text("\0")
        self.chip_device(bus, self.sys / "devices/platform" / name, group=group, stream=stream)
        self._link(self.on(bus, name) / "of_node", node)
        if driver:
            self.attach_on(bus, name, driver)

    def chip_device(self, bus: str, directory: Path, *, group: int | None = None, stream: int | None = None) -> None:
        """A device of a bus, at a place below /sys/devices."""
        directory.mkdir(parents=True)
        (directory / "driver_override").write_text("(null)\n")
        self._link(directory / "subsystem", self.sys / "bus" / bus)
        self._link(self.sys / "bus" / bus / "devices" / directory.name, directory)
        if stream is not None:
            (directory / ".stream").write_text(str(stream))
        if group is not None:
            self.join(directory, group)

    def join(self, directory: Path, group: int) -> None:
        """Put a device into an IOMMU group."""
        members = self.sys / "kernel/iommu_groups" / str(group) / "devices"
        members.mkdir(parents=True, exist_ok=True)
        self._link(directory / "iommu_group", members.parent)
        self._link(members / directory.name, directory)

    def container(
        self, name: str, parent: str, objects: Sequence[str], *, stream: int | None = None, driver: str = ""
    ) -> None:
        """A DPAA2 container; its objects, "dpbp.1", appear as soon as it has a driver."""
        where = self.on("fsl-mc", parent) if parent else self.sys / "devices/platform/80c000000.fsl-mc"
        self.chip_device("fsl-mc", where / name, stream=stream)
        (where / name / ".objects").write_text(json.dumps(list(objects)))
        if driver:
            self.bind_on("fsl-mc", name, driver)

    def move_object(self, name: str, source: str, target: str) -> None:
        """What Linux does when the Management Complex moves an object, or within one container unplugs it."""
        places = {place: self.on("fsl-mc", place) / ".objects" for place in (source, target)}
        there = json.loads(places[source].read_text())
        if name not in there:
            raise _refuse(errno.ENXIO, name)
        if source == target:
            if driver := self.driver_on("fsl-mc", name):
                self.unbind_on("fsl-mc", name, driver)
            return
        if (self.sys / "bus/fsl-mc/devices" / name).exists():
            self._remove(name)
        places[source].write_text(json.dumps([one for one in there if one != name]))
        places[target].write_text(json.dumps([*json.loads(places[target].read_text()), name]))
        if driver := self.driver_on("fsl-mc", target):
            self._scan(target, driver)

    def on(self, bus: str, name: str) -> Path:
        """A device's directory."""
        return (self.sys / "bus" / bus / "devices" / name).resolve()

    def driver_on(self, bus: str, name: str) -> str | None:
        link = self.on(bus, name) / "driver"
        return link.resolve().name if link.is_symlink() else None

    def bind_on(self, bus: str, name: str, driver: str) -> None:
        if not (self.sys / "bus" / bus / "devices" / name).exists() or not self._wants(bus, name, driver):
            raise _refuse(errno.ENODEV, name)
        if self.driver_on(bus, name):
            raise _refuse(errno.EBUSY, name)
        self._dma_configure(bus, name)
        if driver.startswith("vfio-"):
            self._vfio_probe(bus, name, driver)
        self.attach_on(bus, name, driver)

    def attach_on(self, bus: str, name: str, driver: str) -> None:
        directory = self.sys / "bus" / bus / "drivers" / driver
        self._dma_configure(bus, name)
        self._link(self.on(bus, name) / "driver", directory)
        self._link(directory / name, self.on(bus, name))
        if driver.startswith("vfio-") and not (file := self.root / "dev/vfio" / self._group_on(bus, name)).exists():
            file.write_text("\n")
        if name.startswith("dprc."):
            self._scan(name, driver)

    def unbind_on(self, bus: str, name: str, driver: str) -> None:
        if not (self.sys / "bus" / bus / "devices" / name).exists() or self.driver_on(bus, name) != driver:
            raise _refuse(errno.ENODEV, name)
        for inner in self._objects(name):
            self._remove(inner)
        group = self._group_on(bus, name)
        vfio = driver.startswith("vfio-")
        if vfio and (self.root / "dev/vfio" / group).read_text().strip() == "busy":
            raise AssertionError(f"the kernel would wait without end for whoever has {name} open")
        (self.on(bus, name) / "driver").unlink()
        (self.sys / "bus" / bus / "drivers" / driver / name).unlink()
        members = (self.sys / "kernel/iommu_groups" / group / "devices").iterdir() if vfio else ()
        if vfio and not any((member / "driver").resolve().name.startswith("vfio-") for member in members):
            (self.root / "dev/vfio" / group).unlink()

    def probe_on(self, bus: str, name: str) -> None:
        if self.driver_on(bus, name) is None:
            for driver in sorted((self.sys / "bus" / bus / "drivers").iterdir()):
                if self._wants(bus, name, driver.name):
                    self.bind_on(bus, name, driver.name)
                    return

    def load(self, name: str, parameters: Mapping[str, str]) -> None:
        bus = _VFIO.get(name)
        if bus is None and name != "vfio_platform_base":
            super().load(name, parameters)
            return
        for need in ("vfio", *(("vfio_platform_base",) if bus in ("platform", "amba") else ()), name):
            (self.sys / "module" / need).mkdir(exist_ok=True)
        if bus in ("platform", "amba"):
            holder = self.sys / "module/vfio_platform_base/holders" / name
            holder.mkdir(parents=True)
            self.text(f"sys/module/{name}/initstate", "live")
        if bus == "platform":
            value = "N" if parameters.get("reset_required") in ("0", "N") else "Y"
            self.text(f"sys/module/{name}/parameters/reset_required", value)
        if bus is not None:
            driver = name.replace("_", "-")
            self.of_chip(bus, driver)
            drivers = self.sys / "module" / name / "drivers"
            drivers.mkdir()
            self._link(drivers / f"{bus}:{driver}", self.sys / "bus" / bus / "drivers" / driver)

    def unload(self, name: str) -> None:
        used = name == "vfio" and any((self.sys / "module" / user).exists() for user in (*_VFIO, "vfio_platform_base"))
        if used or (name == "vfio_platform_base" and any((self.sys / "module" / name / "holders").iterdir())):
            raise _refuse(errno.EWOULDBLOCK, name)
        if (bus := _VFIO.get(name)) is not None:
            driver = self.sys / "bus" / bus / "drivers" / name.replace("_", "-")
            if any(entry.is_symlink() for entry in driver.iterdir()):
                raise AssertionError(f"unloading {name} would take devices away")
            shutil.rmtree(driver)
            shutil.rmtree(self.sys / "module/vfio_platform_base/holders" / name, ignore_errors=True)
            shutil.rmtree(self.sys / "module" / name)
            return
        super().unload(name) if name != "vfio_platform_base" else shutil.rmtree(self.sys / "module" / name)

    def _wants(self, bus: str, name: str, driver: str) -> bool:
        device = self.on(bus, name)
        override = (device / "driver_override").read_text().strip()
        if override != "(null)":
            return override == driver
        kinds = [name.partition(".")[0]] if bus == "fsl-mc" else (device / "of_node/compatible").read_text().split("\0")
        matches = json.loads((self.sys / "bus" / bus / "drivers" / driver / ".matches").read_text())
        return any(kind in matches for kind in kinds)

    def _dma_configure(self, bus: str, name: str) -> None:
        """What the kernel does when the first driver is tried."""
        device = self.on(bus, name)
        if (device / ".stream").exists() and not (device / "iommu_group").exists():
            self.join(device, int((device / ".stream").read_text()))

    def _vfio_probe(self, bus: str, name: str, driver: str) -> None:
        device = self.on(bus, name)
        if not (device / "iommu_group").exists():
            if bus == "fsl-mc":
                raise AssertionError(f"Linux 6.12 would crash: {name} has no IOMMU group")
            raise _refuse(errno.EINVAL, name)
        if bus == "fsl-mc" or (self.sys / "module/vfio_reset_stub").exists():
            return
        required = bus == "platform" and (self.root / RESET_REQUIRED).read_text() == "Y\n"
        if required or (self.root / "proc/sys/kernel/osrelease").read_text().startswith("6.1."):
            raise _refuse(errno.ENOENT, name)

    def _scan(self, container: str, driver: str) -> None:
        directory = self.on("fsl-mc", container)
        for name in json.loads((directory / ".objects").read_text()):
            if (directory / name).exists():
                continue
            group = directory / "iommu_group"
            self.chip_device("fsl-mc", directory / name, group=int(group.resolve().name) if group.exists() else None)
            if driver == "vfio-fsl-mc":
                (directory / name / "driver_override").write_text("vfio-fsl-mc\n")
            self.probe_on("fsl-mc", name)

    def _objects(self, container: str) -> list[str]:
        if not container.startswith("dprc."):
            return []
        there = self.sys / "bus/fsl-mc/devices"
        return sorted(path.name for path in self.on("fsl-mc", container).iterdir() if (there / path.name).is_symlink())

    def _remove(self, name: str) -> None:
        if driver := self.driver_on("fsl-mc", name):
            self.unbind_on("fsl-mc", name, driver)
        directory = self.on("fsl-mc", name)
        if (directory / "iommu_group").exists():
            ((directory / "iommu_group").resolve() / "devices" / name).unlink()
        (self.sys / "bus/fsl-mc/devices" / name).unlink()
        shutil.rmtree(directory)

    def _group_on(self, bus: str, name: str) -> str:
        return (self.on(bus, name) / "iommu_group").resolve().name


def usual_chip(root: Path) -> ChipMachine:
    """A clock and two serial ports, a copy engine, a pair of devices in one group, and a DPAA2 bus with containers."""
    machine = ChipMachine(root).make()
    machine.of_chip("amba", "rtc-pl031", ["arm,pl031"])
    machine.of_chip("amba", "uart-pl011", ["arm,pl011"], bind_files=False)
    machine.of_chip("platform", "pairs", ["passthru,pair"])
    machine.node("amba", "9010000.pl031", "/pl031@9010000", ["arm,pl031", "arm,primecell"], group=1, driver="rtc-pl031")
    machine.node(
        "amba", "9000000.pl011", "/pl011@9000000", ["arm,pl011", "arm,primecell"], group=2, driver="uart-pl011"
    )
    machine.node("amba", "9040000.pl011", "/pl011@9040000", ["arm,pl011", "arm,primecell"], stream=3)
    machine.node("platform", "7fc00000.copy", "/bus/copy@7fc00000", ["passthru,copy-engine"], stream=4)
    machine.node("platform", "a000000.pair", "/pair@a000000", ["passthru,pair"], group=5, driver="pairs")
    machine.node("platform", "a001000.pair", "/pair@a001000", ["passthru,pair"], group=5, driver="pairs")
    machine.node("platform", "b000000.bare", "/bare@b000000", ["passthru,bare"])
    chosen = machine.root / _TREE / "chosen"
    chosen.mkdir()
    (chosen / "stdout-path").write_text("/pl011@9000000\0")
    machine.of_chip("fsl-mc", "fsl_mc_dprc", ["dprc"])
    machine.of_chip("fsl-mc", "fsl_dpaa2_eth", ["dpni"])
    machine.of_chip("fsl-mc", "fsl_mc_allocator", ["dpbp", "dpmcp", "dpcon"])
    machine.of_chip("fsl-mc", "mine", [])
    machine.container("dprc.1", "", ["dpmcp.1", "dpbp.9"], stream=16, driver="fsl_mc_dprc")
    machine.text("dev/dprc.1", "")
    machine.container("dprc.2", "dprc.1", ["dpni.0", "dpbp.1", "dpmcp.2"], stream=17)
    machine.container("dprc.3", "dprc.1", ["dpni.3", "dpbp.3", "dpcon.3"], stream=18, driver="fsl_mc_dprc")
    # A user's own doing in a container that the host uses: kept through it all.
    machine.unbind_on("fsl-mc", "dpbp.3", "fsl_mc_allocator")
    (machine.on("fsl-mc", "dpbp.3") / "driver_override").write_text("mine\n")
    machine.bind_on("fsl-mc", "dpbp.3", "mine")
    machine.unbind_on("fsl-mc", "dpcon.3", "fsl_mc_allocator")
    return machine


def main() -> int:
    words, make_system = take_options(sys.argv[1:], ChipSystem)
    assert words[0] == "--fd", words
    return run(tidy_standard(int(words[1])), make_system)
