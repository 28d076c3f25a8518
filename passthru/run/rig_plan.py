# SPDX-License-Identifier: GPL-2.0-or-later
"""From a scenario with a rig to everything that its emulated host needs."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.host.rig import RIG, RigSpec
from passthru.host.rig_devices import NAME as DEVICES
from passthru.host.rig_devices import SharedRam
from passthru.image import kernel as kernels
from passthru.image.guest import floor_image
from passthru.image.rig import CODE_HOME, FILES_HOME, PYTHON, build_rig
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu import on_board
from passthru.qemu import rig as rigs
from passthru.qemu.argv import SERIAL
from passthru.qemu.boards import BOARDS, RAM_SMMUV2
from passthru.qemu.device_tree import device_tree
from passthru.qemu.hardware import hardware_addresses
from passthru.run import rig_devices
from passthru.run.assembly import vm_child
from passthru.scenario.hosts import RigHost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.rig import RigImage
    from passthru.image.store import Store
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu
    from passthru.qemu.boards import Board
    from passthru.run.directory import RunDirectory
    from passthru.run.pins import Pins
    from passthru.scenario.models import Scenario

LINES = 6
"""Streams that leave a rig at the same time: a guest has four."""


@dataclass(frozen=True)
class RigPlan:
    """All that a rig uses, found and made; nothing is started yet."""

    host: RigHost
    inner: Qemu | None
    """The QEMU of the guest, as it is on this machine; None where there is no guest."""
    emulator: Qemu
    kernel: Kernel
    image: RigImage
    accelerator: Accelerator
    files: Mapping[Path, str]
    """Files of this machine -> their paths in the rig."""
    tree: Path | None = None
    """Its device tree."""

    @property
    def board(self) -> Board:
        """The machine that it is."""
        return BOARDS[self.host.arch]

    @property
    def accelerator_of_guest(self) -> Accelerator:
        """The guest's, inside the rig."""
        trouble = "no KVM there" if self.kernel.has("KVM") is False else ""
        if self.board.with_kvm and self.accelerator.name == "kvm":
            trouble = "this machine's KVM gives a rig none of its own"
        return accelerators.nested(self.accelerator, trouble, self.board.emulates)

    @property
    def addresses(self) -> dict[str, str]:
        """Where the rig's kernel finds each piece of hardware, by its name."""
        return {**hardware_addresses(self.host.pieces), **on_board.addresses(self.host.on_board, self.host.seats)}

    def vm(self, *, shell: bool = False) -> Vm:
        """The rig's machine, for a person with a shell."""
        drives = {drive.serial: drive.path for drive in self.image.drives}
        vm = _machine(self.host, self.accelerator, self.image.boot, self.image.initrd, drives, shell=shell)
        return replace(vm, tree=self.tree)

    def spec(self, directory: RunDirectory, *, shell: bool = False) -> RigSpec:
        """What the rig is started with; it prints into ``directory``."""
        vm = self.vm(shell=shell)
        return RigSpec(
            child=vm_child(RIG, self.emulator, self.accelerator, vm, directory.output("rig-qemu")),
            console=SERIAL,
            worker=rigs.WORKER,
            lines={f"{rigs.LINE_PORT}{number}": rigs.line_stream(number) for number in range(LINES)},
            outside=self._lines,
            files=self.files,
            python=PYTHON,
            code=CODE_HOME,
            quirks=self.host.quirks,
            person=rigs.CONSOLE if shell else None,
            shared=self._shared(directory) if vm.ram else None,
        )

    @property
    def _lines(self) -> dict[str, str]:
        """The streams of the hardware's serial lines."""
        on_pci = {piece.name: piece.stream for piece in self.host.pieces}
        streams = {**on_pci, **{piece.name: piece.stream for piece in self.host.on_board}}
        return {name: stream for name, stream in streams.items() if stream}

    def _shared(self, directory: RunDirectory) -> SharedRam:
        board = rig_devices.board_of(self.host, self.host.seats)
        return SharedRam(self.host.memory, rig_devices.RAM, board, directory.output(DEVICES))


def plan_rig(
    scenario: Scenario,
    qemu: Qemu | None,
    files: Mapping[str, Path],
    store: Store,
    tell: Tell,
    pins: Pins,
    *,
    update: bool = False,
) -> RigPlan:
    """Find, fetch and build the rig of ``scenario``, in which ``qemu`` runs the guest, if there is to be one.

    ``files`` are brought in by these names, beside those that checks name. Blocks. Raises Unusable, UserMistake;
    MissingCapability for a module that cannot be built for the rig's kernel.
    """
    host = scenario.host
    if not isinstance(host, RigHost):
        raise TypeError(f"the scenario {scenario.name} has no rig")
    brought = {**files, **_programs(scenario)}
    needs = sorted(rigs.qemu_needs(host.iommu, host.pieces, host.arch))
    arch = BOARDS[host.arch].emulates
    if pins.emulator is not None:
        emulator = qemus.pinned(pins.emulator, store, tell, arch=arch)
    else:
        option = "--set host.emulator="
        emulator = qemus.find(host.emulator, needs, store, tell, arch=arch, update=update, option=option)
    root = pins.host_kernel["root"] if pins.host_kernel is not None else None
    kernel = kernels.resolve(host.kernel, store, tell, arch=host.arch, pin=root, update=update)
    image = build_rig(kernel, host.modules, qemu, brought, store, tell, pins=pins.rig, update=update)
    for missing in image.missing.values():
        raise missing
    floor = functools.partial(floor_image, store, tell, arch=host.arch)
    chosen = accelerators.of_rig(accelerators.choose(host.accel, emulator, kernel, floor, store, tell), arch)
    there = {path: f"{FILES_HOME}/{name}" for name, path in brought.items()}
    tree = None
    if BOARDS[host.arch].has_tree:
        vm = _machine(host, chosen, image.boot, image.initrd, {})
        pieces = on_board.fragments(host.on_board, host.seats, host.iommu, host.arch, host.tree)
        tree = device_tree(emulator, chosen, vm, tuple(pieces), store, tell)
    return RigPlan(host, qemu, emulator, kernel, image, chosen, there, tree)


def _machine(
    host: RigHost,
    accelerator: Accelerator,
    boot: Path,
    initrd: Path,
    drives: Mapping[str, Path],
    *,
    shell: bool = False,
) -> Vm:
    """The rig's machine, but for its device tree."""
    shared = host.iommu == RAM_SMMUV2
    vm = rigs.rig_vm(
        boot,
        initrd,
        drives,
        arch=host.arch,
        iommu=host.iommu,
        hardware=host.pieces,
        serials=[piece.stream for piece in host.on_board if piece.stream],
        memory_mib=host.memory,
        cpus=host.cpus,
        words=(*accelerator.kernel_words, *host.cmdline.split()),
        unsafe_interrupts=host.unsafe_interrupts,
        with_kvm=accelerator.name == "tcg",
        shell=shell,
        lines=LINES,
        ram=rig_devices.RAM if shared else "",
    )
    return replace(vm, extra=rig_devices.qemu_arguments()) if shared else vm


def _programs(scenario: Scenario) -> dict[str, Path]:
    """The files that checks bring to the host, by their names there."""
    files = [Path(file) for check in scenario.check.values() for file in check.brings]
    # Python's files are known by their names' ends.
    named = ((f"brought-{number}", file) for number, file in enumerate(dict.fromkeys(files)))
    return {f"{name}.py" if file.suffix == ".py" else name: file for name, file in named}
