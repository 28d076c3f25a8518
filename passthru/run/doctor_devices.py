# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine offers for the assignment of its own devices, asked of a worker that touches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.host.devices import MdevAssignment, OnChipAssignment
from passthru.run.assignments import assignments
from passthru.run.diagnosis import Diagnosis, State
from passthru.run.preflight import assigns_our_devices, look
from passthru.run.signals import run_async

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from passthru.host.devices import Assignment, Blocker, Preflight
    from passthru.scenario.models import Scenario

_RIG = 'scenarios with host.kind = "rig" bring their own'


def examine_devices(scenario: Scenario | None = None) -> Iterator[Diagnosis]:
    """What stands in the way of each device that ``scenario`` assigns on this machine, or in general what there is.

    Nothing for a scenario whose devices are not this machine's. Blocks. Raises KeyboardInterrupt.
    """
    if scenario and not assigns_our_devices(scenario):
        return
    try:
        seen = run_async(look(scenario))
    except PassthruError as error:
        yield Diagnosis("devices", State.MISSING if scenario else State.ABSENT, str(error))
        return
    if scenario:
        yield from _devices(assignments(scenario, {}), seen.blockers)
    else:
        yield from _offers(seen.facts)
    yield from _left(seen)


def _devices(wanted: Sequence[Assignment], blockers: Sequence[Blocker]) -> Iterator[Diagnosis]:
    for blocker in blockers:
        if blocker.device is None:
            yield Diagnosis("this machine", State.MISSING, blocker.what, blocker.fix)
    everywhere = any(blocker.device is None for blocker in blockers)
    for assignment in wanted:
        mine = [blocker for blocker in blockers if blocker.device == assignment.name]
        for blocker in mine:
            yield Diagnosis(f"device {assignment.name}", State.MISSING, blocker.what, blocker.fix)
        if not mine and not everywhere:
            yield Diagnosis(f"device {assignment.name}", State.READY, f"{_words(assignment)} can be assigned")


def _words(assignment: Assignment) -> str:
    if isinstance(assignment, MdevAssignment):
        return f"a {assignment.type} of {assignment.parent}"
    if isinstance(assignment, OnChipAssignment):
        return f"{assignment.host} of the bus {assignment.bus}"
    function = "" if assignment.vf is None else f", virtual function {assignment.vf},"
    return f"{assignment.host}{function}"


def _offers(facts: Mapping[str, Any]) -> Iterator[Diagnosis]:
    if facts["iommus"] or facts["groups"]:
        remapped = {True: ", interrupts are remapped", False: ", interrupts are not remapped", None: ""}
        text = f"{', '.join(facts['iommus']) or 'no IOMMU'}: {facts['groups']} groups"
        yield Diagnosis("iommu", State.READY, text + remapped[facts["interrupt_remapping"]])
    else:
        remedy = f"{_RIG}; for this machine's devices turn on VT-d or AMD-Vi in its firmware, and see its `dmesg`"
        yield Diagnosis("iommu", State.ABSENT, "the kernel has no IOMMU to assign PCI devices with", remedy)
    here = [name for name, there in facts["modules"].items() if there]
    lacking = [name for name, there in facts["modules"].items() if not there]
    enough = {"vfio-pci", "vfio_iommu_type1"} <= set(here)
    text = "; ".join(filter(None, (", ".join(here), ", ".join(f"no {name}" for name in lacking))))
    remedy = "" if enough else f"{_RIG}; for this machine's devices install its kernel's modules"
    yield Diagnosis("vfio", State.READY if enough else State.ABSENT, text, remedy)
    if parents := facts["mdev_parents"]:
        yield Diagnosis("mdev", State.READY, f"parents: {', '.join(parents)}; `passthru mdev types` says of what")
    else:
        yield Diagnosis("mdev", State.ABSENT, "no device is a parent of mdevs", _RIG)


def _left(found: Preflight) -> Iterator[Diagnosis]:
    if count := found.facts["left_by_killed_workers"]:
        text = f"{count} changes of killed runs stand in {found.facts['state']}"
        yield Diagnosis("recovery", State.LEFT, text, "`passthru recover` undoes them")
