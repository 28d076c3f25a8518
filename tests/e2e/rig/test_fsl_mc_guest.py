# SPDX-License-Identifier: GPL-2.0-or-later
"""A container of a rig's Management Complex in an unmodified guest, by the process that stands between."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import tell_nobody
from passthru.host import ChildSpec
from passthru.host.devices import OnChipAssignment, prepare, release
from passthru.image import cpio
from passthru.image import kernel as kernels
from passthru.image.arch import ARM64
from passthru.image.debian import packages_root
from passthru.image.store import Store
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu import guest_fsl_mc
from passthru.qemu.argv import Vm, machine_words
from passthru.qemu.device_tree import device_tree
from passthru.run.assignments import assignments
from passthru.run.conform.plan import ConformPlan
from passthru.run.directory import create
from passthru.run.host_hand import HostPrograms
from passthru.run.hosts import open_host
from passthru.run.pins import Pins
from passthru.run.rig_plan import plan_rig
from passthru.scenario.loading import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.host import Host

SECONDS = 60.0
RIG = """\
[host]
kind = "rig"
arch = "arm64"
kernel = "debian:{}"
iommu = "ram-smmuv2"
[host.hardware.complex]
model = "management-complex"
[device.dut]
bus = "fsl-mc"
host = "dprc.2"
"""
MEMORY = 256
KERNELS_MEMORY = 192
"""MiB: above that and behind the windows is RAM that the guest's kernel knows nothing of, for its init to play with."""
KERNEL, INITRD, TREE = "guest-kernel", "guest-initrd", "guest-tree"
OBJECTS = "dpbp.1 dpcon.0 dpio.0 dpmcp.2 dpni.0 dprc.2"

ADD = """\
import fcntl, os, struct
node = os.open("/dev/dprc.1", os.O_RDWR)
def send(code, token, parameters):
    command = bytearray(struct.pack("<BBBBHH", 0, 0, 1, 0, token, code << 4 | 1) + parameters.ljust(56, b"\\0"))
    fcntl.ioctl(node, 3 << 30 | 64 << 16 | ord("R") << 8 | 0xE0, command, True)
    assert command[2] == 0, command
    return command
token, = struct.unpack_from("<H", send(0x805, 0, struct.pack("<I", 1)), 4)
number, = struct.unpack_from("<I", send(0x904, token, b""), 8)
send(0x157, token, struct.pack("<IIII", 2, 5, 1, number) + b"dpbp")
print(number)
"""
"""What restool does to create a dpbp and to assign it to dprc.2."""


@dataclass(frozen=True)
class Output:
    """What a child prints into a file here."""

    path: Path

    async def until(self, true: Callable[[list[str]], bool]) -> list[str]:
        """Its lines, as soon as something is true of them."""
        async with asyncio.timeout(SECONDS):
            while not true(lines := self.lines):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a file that grows cannot be waited for
        return lines

    @property
    def lines(self) -> list[str]:
        """So far."""
        return self.path.read_text(errors="replace").splitlines() if self.path.exists() else []


def test_a_guest_has_a_container(tmp_path: Path) -> None:
    """Children, commands, DMA, a fault, a hot-added object, and the end: the container by hand, without a run."""
    spec, store = "debian:bookworm", Store()
    (tmp_path / "s.toml").write_text(RIG.format("bookworm"))
    scenario = load(tmp_path / "s.toml")
    inner = qemus.find(spec, (), store, tell_nobody, arch=ARM64.machine, on=ARM64.name)
    assert not guest_fsl_mc.takes_containers(inner)
    vm = Vm(Path(KERNEL), Path(INITRD), "", machine="virt,gic-version=3", memory_mib=MEMORY, arch=ARM64.machine)
    place = guest_fsl_mc.windows(MEMORY)
    outer = qemus.find(spec, (), store, tell_nobody, arch=ARM64.machine)
    tree = device_tree(outer, accelerators.tcg(arch=ARM64.machine), vm, (place.fragment,), store, tell_nobody)
    kernel = kernels.resolve(spec, store, tell_nobody, arch=ARM64.name)
    files = {KERNEL: kernel.image, INITRD: _initramfs(tmp_path / "initrd", store), TREE: tree}
    plan = ConformPlan(scenario, plan_rig(scenario, inner, files, store, tell_nobody, Pins()))
    assert plan.rig is not None and plan.rig.image.qemu is not None
    qemu = plan.rig.image.qemu
    (wanted,) = assignments(scenario, plan.rig.addresses)
    assert isinstance(wanted, OnChipAssignment)
    spare = place.control + 0x100000
    words = f"portals={place.portals:#x} queues={place.queues:#x} spare={spare:#x}"

    async def judge() -> None:
        directory = create(tmp_path / "runs", scenario.name)
        deadline = Deadline.after(2 * SECONDS, scale=plan.rig.accelerator.scale if plan.rig else 1)
        async with open_host(plan, directory, deadline, tell_nobody) as up:
            made = await prepare(up.host, wanted)
            settings = guest_fsl_mc.bridge_settings(
                made.address,
                f"/dev/vfio/{made.group}",
                "{socket:ram}",
                MEMORY,
                "{socket:qtest}",
                ready="{stream:ready}",
            )
            said, told = (Output(directory.output(name)) for name in ("guest", "bridge"))
            bridge = await up.host.start(
                ChildSpec(
                    "bridge",
                    up.host.own_command(guest_fsl_mc.MODULE, settings),
                    streams=("ready",),
                    output=told.path,
                )
            )
            assert await asyncio.get_running_loop().sock_recv(bridge.streams["ready"], 100), told.lines
            argv = _guest(qemu.command, vm, {name: up.host.path_of(path) for name, path in files.items()}, words)
            guest = await up.host.start(ChildSpec("guest", argv, env=dict(qemu.env), output=said.path))
            lines = await said.until(lambda lines: any("INTERRUPTS" in line for line in lines))
            (token,) = (line.split()[-1] for line in lines if line.startswith("OPENED"))
            assert int(token) > 0
            assert _facts(lines) == [
                f"HAS {OBJECTS}",
                "DRIVER fsl_mc_dprc",
                f"OPENED 0 WITH {token}",
                "CREATED 4",  # no privilege
                "COPIED 0x00000001 0x1122334455667788",
                "FAULTED 0x00000002 0x0000008000000000",
                f"HAS {OBJECTS} INTERRUPTS 0",
            ]
            number = await _add(up.host, directory.path)
            await said.until(lambda lines: any(f" dpbp.{number} " in line and "INTERRUPTS" in line for line in lines))
            assert not _facts(said.lines)[-1].endswith(" 0")
            await guest.kill()
            assert (await bridge.wait(deadline)).code == 0, told.lines
            assert told.lines == ["the container is held"]
            assert await release(up.host, made.name) == ()
            assert up.rig is not None
            assert up.rig.kernel_log.splats == []

    asyncio.run(judge())


def _facts(lines: list[str]) -> list[str]:
    """What the guest's init says, without what its kernel says."""
    return [line.strip() for line in lines if line.split(" ")[0].isupper()]


def _initramfs(path: Path, store: Store) -> Path:
    root = packages_root("bookworm", ["busybox-static"], ARM64.name, store, tell_nobody, what="busybox")
    busybox = next(root.path.glob("**/bin/busybox"))
    nodes = [
        *(cpio.directory(name) for name in ("bin", "dev", "proc", "sys")),
        cpio.character_device("dev/console", 5, 1),
        cpio.file("bin/busybox", busybox.read_bytes(), executable=True),
        cpio.file("init", Path(__file__).with_name("fsl_mc_guest.sh").read_bytes(), executable=True),
    ]
    with path.open("wb") as stream:
        cpio.write(stream, nodes)
    return path


def _guest(command: tuple[str, ...], vm: Vm, files: dict[str, str], words: str) -> tuple[str, ...]:
    shared = Vm(vm.kernel, vm.initrd, "", machine=vm.machine, memory_mib=MEMORY, ram="{socket:ram}")
    return (
        *(*command, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *(*machine_words(shared), "-accel", "kvm", "-cpu", "host", *guest_fsl_mc.qtest_arguments("{socket:qtest}")),
        *("-kernel", files[KERNEL], "-initrd", files[INITRD], "-dtb", files[TREE]),
        *("-append", f"console=ttyAMA0 panic=-1 quiet mem={KERNELS_MEMORY}M {words}"),
    )


async def _add(host: Host, directory: Path) -> int:
    ended = await HostPrograms(host, directory, {}).run(
        ["python3", "-c", ADD], env={}, deadline=Deadline.after(SECONDS)
    )
    assert ended.status == 0, ended.stdout
    return int(ended.stdout)
