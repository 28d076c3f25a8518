# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of a host, asked of its worker: what stands in the way, prepared for a guest, given back, by hand."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from passthru.host.connection import raised_as

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.errors import PassthruError
    from passthru.host.host import Host

Container = Literal["type1", "type1v2", "noiommu", "iommufd"]


@dataclass(frozen=True)
class PciAssignment:
    """A PCI device of the host's.

    ``host`` is an address ("0000:00:05.0", "00:05.0"), a path through bridges ("00:04.0/00.0") or "vendor:device".
    With ``vf`` it is the physical function, and its virtual function of that index is assigned, of ``vfs`` to be made.
    """

    bus: ClassVar[str] = "pci"
    name: str
    host: str
    vf: int | None = None
    vfs: int | None = None
    container: Container = "type1"
    unsafe: bool = False
    """VFIO may be told to allow interrupts that no IOMMU remaps."""

    def request(self) -> dict[str, Any]:
        """As the worker is asked for it."""
        return {"bus": self.bus, **asdict(self)}


@dataclass(frozen=True)
class MdevAssignment:
    """A mediated device to be made: of ``type`` at ``parent``, a name in /sys/class/mdev_bus or a PCI address.

    Without both it is the one with ``uuid``, which is there already, and stays.
    """

    bus: ClassVar[str] = "mdev"
    name: str
    parent: str | None
    type: str | None
    uuid: str | None = None
    """None: a new one."""
    container: Container = "type1"
    unsafe: bool = False

    def request(self) -> dict[str, Any]:
        """As the worker is asked for it."""
        return {"bus": self.bus, **asdict(self)}


@dataclass(frozen=True)
class OnChipAssignment:
    """A device of a chip's own: on the bus ``platform`` or ``amba`` by its name there, the path of its node in the
    device tree or what it is ``compatible`` with; on ``fsl-mc`` a DPAA2 container, ``dprc.N``."""

    name: str
    bus: Literal["platform", "amba", "fsl-mc"]
    host: str
    reset_required: bool = True
    """For ``platform``. False: the module vfio-platform is loaded so that it takes a device that it cannot reset (from
    Linux 6.3 on)."""
    container: Container = "type1"
    unsafe: bool = False

    def request(self) -> dict[str, Any]:
        """As the worker is asked for it."""
        return {key: value for key, value in asdict(self).items() if key != "reset_required" or self.bus == "platform"}


Assignment = PciAssignment | MdevAssignment | OnChipAssignment


@dataclass(frozen=True)
class Blocker:
    """What stands in the way of an assignment (``device``), or of all on this host (None)."""

    device: str | None
    what: str
    fix: str
    wrong: Literal["mistake", "unusable", "missing"]
    capability: str = ""

    def __str__(self) -> str:
        about = f"{self.device}: " if self.device else ""
        return f"{about}{self.what}; {self.fix}" if self.fix else f"{about}{self.what}"

    def error(self) -> PassthruError:
        """What a run that it stops raises."""
        return raised_as(self.wrong, str(self), self.capability)


@dataclass(frozen=True)
class Preflight:
    """What was found before anything was touched."""

    blockers: tuple[Blocker, ...]
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """iommus, groups, interrupt_remapping, modules, containers, can_lock_memory, mdev_parents,
    left_by_killed_workers, state."""

    def raise_if_blocked(self) -> None:
        """Raises UserMistake, Unusable or, where nothing else is wrong, MissingCapability."""
        order = ("mistake", "unusable", "missing")
        for blocker in sorted(self.blockers, key=lambda blocker: order.index(blocker.wrong)):
            raise blocker.error()


@dataclass(frozen=True)
class Prepared:
    """An assignment that is ready for a guest."""

    name: str
    qemu: Mapping[str, str]
    """Properties of QEMU's device: ``host`` or ``sysfsdev``."""
    address: str
    """The PCI address on the host, the mdev's UUID, or the name on its bus."""
    uuid: str | None
    group: str | None
    """The IOMMU group's number, or without an IOMMU "noiommu-N": /dev/vfio/GROUP."""
    cdev: str | None
    """/dev/vfio/devices/vfioN, where the kernel has those."""
    devices: tuple[str, ...]
    """All that changed hands: the whole group."""
    driver: str | None
    """The driver that it had, and gets back."""
    notes: tuple[str, ...]
    bus: str
    qemu_device: str
    """QEMU's device for it: ``vfio-pci``, ``vfio-platform``, or as the kernel calls the interface of an mdev."""


@dataclass(frozen=True)
class Recovered:
    """What was done about journals of workers that were killed; sentences."""

    undone: tuple[str, ...]
    failed: tuple[str, ...]
    kept: tuple[str, ...]
    """Changed by somebody else since, and left so."""


@dataclass(frozen=True)
class Bound:
    """A binding made by hand."""

    address: str
    group: str | None
    driver: str
    before: str | None
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Unbound:
    """A binding undone by hand: the driver it has now, and sentences."""

    address: str
    driver: str | None
    undone: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class MdevType:
    """A type of a parent, as the kernel lists it."""

    type: str
    name: str | None
    description: str | None
    device_api: str | None
    available_instances: int
    devices: tuple[str, ...]
    """The UUIDs of its mdevs."""


async def preflight(
    host: Host, assignments: Sequence[Assignment], memory: int, kind: Literal["rig", "local"]
) -> Preflight:
    """What stands in the way; touches nothing. ``memory`` is the guest's in bytes, 0 where it is unknown."""
    answer = await host.ask(
        "preflight",
        "to look at its devices",
        assignments=[assignment.request() for assignment in assignments],
        memory=memory,
        kind=kind,
    )
    return Preflight(tuple(Blocker(**blocker) for blocker in answer["blockers"]), MappingProxyType(answer["facts"]))


async def prepare(host: Host, assignment: Assignment) -> Prepared:
    """Make a device ready for a guest. Raises UserMistake, Unusable, MissingCapability; then all is as before."""
    answer = await host.ask("prepare", f"to prepare {assignment.name}", assignment=assignment.request())
    return Prepared(**_tuples(answer))


async def release(host: Host, name: str) -> tuple[str, ...]:
    """Give a prepared device back; returns a sentence for each failure. What is not released is so at the end."""
    answer = await host.ask("release", f"to release {name}", name=name)
    return tuple(answer["failed"])


async def recover(host: Host) -> Recovered:
    """Undo what killed workers of this boot left."""
    return Recovered(**_tuples(await host.ask("recover", "to recover what killed workers left")))


async def bind(host: Host, device: str, driver: str | None = None) -> Bound:
    """Bind a device until ``unbind``: to VFIO's driver of its bus with all of its group, or to ``driver``."""
    return Bound(**_tuples(await host.ask("bind", f"to bind {device}", host=device, driver=driver)))


async def unbind(host: Host, device: str) -> Unbound:
    """Give back what ``bind`` took."""
    return Unbound(**_tuples(await host.ask("unbind", f"to unbind {device}", host=device)))


async def create_mdev(
    host: Host, parent: str, kind: str, uuid: str | None = None, attributes: Sequence[tuple[str, str]] = ()
) -> str:
    """Make an mdev that stays, and write ``attributes`` (name, value) into its files in sysfs; returns its UUID."""
    answer = await host.ask(
        "mdev-create",
        f"to create an mdev of {parent}",
        parent=parent,
        type=kind,
        uuid=uuid,
        attributes=[list(attribute) for attribute in attributes],
    )
    return str(answer["uuid"])


async def remove_mdev(host: Host, uuid: str) -> None:
    """Remove an mdev, whoever made it."""
    await host.ask("mdev-remove", f"to remove the mdev {uuid}", uuid=uuid)


async def add_object(host: Host, device: str, container: str) -> str:
    """Move a DPAA2 object into ``container``, which no guest may hold; returns the container that it came from."""
    answer = await host.ask("object-add", f"to move {device} into {container}", object=device, container=container)
    return str(answer["before"])


async def remove_object(host: Host, device: str, container: str) -> str:
    """Move a DPAA2 object out of ``container``, which no guest may hold; returns the container where it is then."""
    answer = await host.ask("object-remove", f"to move {device} out of {container}", object=device, container=container)
    return str(answer["container"])


async def mdev_types(host: Host) -> Mapping[str, tuple[MdevType, ...]]:
    """The types of each parent of mdevs on the host."""
    answer = await host.ask("mdev-types", "to list its mdev types")
    return {
        parent["parent"]: tuple(MdevType(**_tuples(entry)) for entry in parent["types"]) for parent in answer["parents"]
    }


def _tuples(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in answer.items()}
