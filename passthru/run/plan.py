# SPDX-License-Identifier: GPL-2.0-or-later
"""From a scenario to everything that a run of it needs: a QEMU, a kernel, an image and an accelerator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.image import kernel as kernels
from passthru.image.arch import ARCHES
from passthru.image.guest import GuestImage, build_guest, floor_image
from passthru.image.modules import available
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu.guest_platform import DRIVER as PLATFORM_DRIVER
from passthru.run.guest_container import bridged
from passthru.run.guest_tree import NAME as TREE
from passthru.run.guest_tree import guest_tree, on_platform
from passthru.run.host_plan import HostSide, demand_guest, plan_host_side
from passthru.run.pins import demand_same, demand_same_code

if TYPE_CHECKING:
    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.binary import Qemu
    from passthru.run.guest_tree import GuestTree
    from passthru.run.rig_plan import RigPlan
    from passthru.run.what import Request
    from passthru.scenario.models import Scenario

QEMU_DEVICES = {"vfio-user": "vfio-user-pci", "pci": "vfio-pci", "mdev": "vfio-pci"}
"""What any QEMU must have for a device of each bus."""
SOME_HAVE = {**QEMU_DEVICES, "platform": PLATFORM_DRIVER}
"""The same with the devices that QEMUs for some architectures and of some versions have."""

LINE_MODULES = ("virtio_pci", "virtio_console")
"""The modules behind the guest's own lines; a kernel without them shares ttyS0 with the shell agent."""


@dataclass(frozen=True)
class Plan:
    """All that one run uses, found and made; nothing is started yet."""

    scenario: Scenario
    qemu: Qemu
    kernel: Kernel
    image: GuestImage
    accelerator: Accelerator
    rig: RigPlan | None = None
    """Where the guest runs in an emulated host, that; ``qemu`` is the one in it."""
    tree: GuestTree | None = None
    """The guest's device tree, where it is not QEMU's own."""
    bridged: str = ""
    """The device that a process beside QEMU gives the guest, if there is one (guest_container)."""

    def without_kvm(self, reason: str) -> Plan:
        """The same plan, emulated."""
        return replace(self, accelerator=accelerators.here(accelerators.tcg(reason, self.qemu.arch)))


def demand_containers(scenario: Scenario) -> None:
    """Raise UserMistake where a device has a container that QEMU gives no guest a device by."""
    for name, device in scenario.passed_through.items():
        if device.container not in ("type1", "iommufd"):
            raise UserMistake(
                f'device.{name}.container is "{device.container}", by which no guest gets a device; take "type1" or'
                ' "iommufd", or judge the device itself by `passthru conform`'
            )


def plan_run(request: Request, store: Store, tell: Tell, *, update: bool = False) -> Plan | HostSide:
    """As make_plan(), also for a scenario without a guest."""
    if request.scenario.has_guest:
        return make_plan(request, store, tell, update=update)
    return plan_host_side(request, store, tell, update=update)


def demand_buses(scenario: Scenario) -> None:
    """Raise UserMistake where a device is on a bus whose devices QEMU gives no guest."""
    for name, device in scenario.passed_through.items():
        if device.bus == "amba":
            raise UserMistake(
                f'device.{name} is on the bus "amba", and QEMU gives no guest such a device (`passthru conform` judges '
                'it); leave "arm,primecell" out of what its node in the host\'s device tree is compatible with (in a '
                'rig: place = "platform"), and take bus = "platform"'
            )


def needs_of(scenario: Scenario) -> list[str]:
    """The devices that the guest's QEMU must have; of one that is named, without those that newer ones lack: what needs
    them is skipped then."""
    buses = {device.bus for device in scenario.device.values()}
    needs = {QEMU_DEVICES[bus] for bus in buses & QEMU_DEVICES.keys()}
    if scenario.guest_qemu == qemus.AUTO and any(map(on_platform, scenario.device.values())):
        needs.add(PLATFORM_DRIVER)
    return sorted(needs)


def make_plan(request: Request, store: Store, tell: Tell, *, update: bool = False) -> Plan:
    """Find, fetch and build what ``request`` needs; ``update`` asks for the present versions of what has moving names.

    Blocks. Raises Unusable, UserMistake.
    """
    demand_guest(request.scenario, "`passthru run` judges its devices on their host")
    demand_containers(request.scenario)
    demand_buses(request.scenario)
    guest = request.scenario.guest
    pins = request.pins
    demand_same_code(request.scenario, pins.code)
    needs = needs_of(request.scenario)
    arch, on = request.scenario.guest_arch, request.scenario.rig_arch
    if pins.qemu is not None:
        qemu = qemus.pinned(pins.qemu, store, tell, arch=ARCHES[arch].machine)
    else:
        emulates = ARCHES[arch].machine
        qemu = qemus.find(request.scenario.guest_qemu, needs, store, tell, arch=emulates, on=on, update=update)
    beside = bridged(request.scenario, qemu)
    root = pins.kernel["root"] if pins.kernel is not None else None
    kernel = kernels.resolve(guest.kernel, store, tell, guest.kernel_config, arch=arch, pin=root, update=update)
    if pins.kernel is not None:
        demand_same(kernel, pins.kernel)
    modules = (*(name for name in LINE_MODULES if available(kernel, name)), *guest.modules)
    image = build_guest(
        guest.image,
        kernel,
        modules,
        store,
        tell,
        optional_modules=tuple(sorted({name for check in request.scenario.check.values() for name in check.modules})),
        packages_pin=pins.packages,
        update=update,
    )
    if request.scenario.host.kind == "rig":
        from passthru.run.rig_plan import plan_rig

        tree = guest_tree(request.scenario, qemu, kernel, store, tell, container=bool(beside))
        files = {"guest-kernel": kernel.image, "guest-initrd": image.path, **({TREE: tree.path} if tree else {})}
        rig = plan_rig(request.scenario, qemu, files, store, tell, pins, update=update)
        return Plan(
            request.scenario, rig.image.qemu or qemu, kernel, image, rig.accelerator_of_guest, rig, tree, beside
        )
    accelerator = accelerators.choose(guest.accel, qemu, kernel, lambda: floor_image(store, tell), store, tell)
    return Plan(request.scenario, qemu, kernel, image, accelerator)
