# SPDX-License-Identifier: GPL-2.0-or-later
"""From a scenario with a rig to everything that its emulated host needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.host.rig import RIG, RigSpec
from passthru.image import kernel as kernels
from passthru.image.guest import floor_image
from passthru.image.rig import CODE_HOME, FILES_HOME, PYTHON, build_rig
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu import rig as rigs
from passthru.qemu.argv import SERIAL
from passthru.qemu.hardware import hardware_addresses, stream_of
from passthru.run.assembly import vm_child
from passthru.scenario.hosts import RigHost

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.events import Tell
    from passthru.image.guest import GuestImage
    from passthru.image.kernel import Kernel
    from passthru.image.rig import RigImage
    from passthru.image.store import Store
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu
    from passthru.run.directory import RunDirectory
    from passthru.run.pins import Pins
    from passthru.scenario.models import Scenario

LINES = 6
"""Streams that leave a rig at the same time: a guest has four."""


@dataclass(frozen=True)
class RigPlan:
    """All that a rig uses, found and made; nothing is started yet."""

    host: RigHost
    inner: Qemu
    """The QEMU of the guest, as it is on this machine."""
    emulator: Qemu
    kernel: Kernel
    image: RigImage
    accelerator: Accelerator
    files: Mapping[Path, str]
    """Files of this machine -> their paths in the rig."""

    @property
    def accelerator_of_guest(self) -> Accelerator:
        """The guest's, inside the rig."""
        return accelerators.nested(self.accelerator, "" if self.kernel.has("KVM") is not False else "no KVM there")

    @property
    def addresses(self) -> dict[str, str]:
        """Where the rig's kernel finds each piece of hardware, by its name."""
        return hardware_addresses(self.host.pieces)

    def vm(self, *, shell: bool = False) -> Vm:
        """The rig's machine, for a person with a shell."""
        host = self.host
        return rigs.rig_vm(
            self.image.boot,
            self.image.initrd,
            {drive.serial: drive.path for drive in self.image.drives},
            iommu=host.iommu,
            hardware=host.pieces,
            memory_mib=host.memory,
            cpus=host.cpus,
            words=(*self.accelerator.kernel_words, *host.cmdline.split()),
            unsafe_interrupts=host.unsafe_interrupts,
            shell=shell,
            lines=LINES,
        )

    def spec(self, directory: RunDirectory, *, shell: bool = False) -> RigSpec:
        """What the rig is started with; it prints into ``directory``."""
        vm = self.vm(shell=shell)
        return RigSpec(
            child=vm_child(RIG, self.emulator, self.accelerator, vm, directory.output("rig-qemu")),
            console=SERIAL,
            worker=rigs.WORKER,
            lines={f"{rigs.LINE_PORT}{number}": rigs.line_stream(number) for number in range(LINES)},
            outside={piece.name: stream_of(piece.name) for piece in self.host.pieces if piece.stream},
            files=self.files,
            python=PYTHON,
            code=CODE_HOME,
            quirks=self.host.quirks,
            person=rigs.CONSOLE if shell else None,
        )


def plan_rig(
    scenario: Scenario,
    qemu: Qemu,
    guest_kernel: Kernel,
    guest_image: GuestImage,
    store: Store,
    tell: Tell,
    pins: Pins,
    *,
    update: bool = False,
) -> RigPlan:
    """Find, fetch and build the rig of ``scenario``, in which ``qemu`` runs the guest.

    Blocks. Raises Unusable, UserMistake; MissingCapability for a module that cannot be built for the rig's kernel.
    """
    host = scenario.host
    if not isinstance(host, RigHost):
        raise TypeError(f"the scenario {scenario.name} has no rig")
    brought = {"guest-kernel": guest_kernel.image, "guest-initrd": guest_image.path, **_programs(scenario)}
    needs = sorted(rigs.qemu_needs(host.iommu, host.pieces))
    if pins.emulator is not None:
        emulator = qemus.pinned(pins.emulator, store, tell)
    else:
        emulator = qemus.find(host.emulator, needs, store, tell, update=update, option="--set host.emulator=")
    root = pins.host_kernel["root"] if pins.host_kernel is not None else None
    kernel = kernels.resolve(host.kernel, store, tell, pin=root, update=update)
    image = build_rig(kernel, host.modules, qemu, brought, store, tell, pins=pins.rig, update=update)
    for missing in image.missing.values():
        raise missing
    chosen = accelerators.choose(host.accel, emulator, kernel, lambda: floor_image(store, tell), store, tell)
    files = {path: f"{FILES_HOME}/{name}" for name, path in brought.items()}
    return RigPlan(host, qemu, emulator, kernel, image, accelerators.of_rig(chosen), files)


def _programs(scenario: Scenario) -> dict[str, Path]:
    """The files that checks bring to the host, by their names there."""
    files = [Path(file) for check in scenario.check.values() for file in check.brings]
    return {f"brought-{number}": file for number, file in enumerate(dict.fromkeys(files))}
