# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of a host as the controlling side asks for them, by a real worker on a made machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.deadline import Deadline
from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.host import devices, open_local_host
from passthru.host.devices import Assignment, MdevAssignment, PciAssignment
from tests.unit.worker.fake_sysfs import COMMAND, usual_machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from passthru.host import Host
    from tests.unit.worker.fake_sysfs import Machine

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The next worker's machine."""
    made = usual_machine(tmp_path / "machine")

    def command(module: str, *arguments: str) -> tuple[str, ...]:
        return (*COMMAND, *arguments, "--roots", str(made.root))

    monkeypatch.setattr("passthru.host.local.lean_command", command)
    return made


@pytest.fixture
async def host(place: Path, machine: Machine) -> AsyncIterator[Host]:
    async with open_local_host(deadline=Deadline.after(20)) as host:
        yield host


async def test_a_run_s_devices(host: Host, machine: Machine) -> None:
    wanted: list[Assignment] = [
        PciAssignment("serial0", "00:05.0"),
        PciAssignment("vf0", "00:08.0", vf=0, vfs=2),
        MdevAssignment("mtty0", "mtty", "mtty-2", UUID),
    ]
    found = await devices.preflight(host, wanted, 1 << 30, "local")
    found.raise_if_blocked()
    assert found.facts["mdev_parents"] == ["mtty"]
    prepared = [await devices.prepare(host, one) for one in wanted]
    assert [one.qemu for one in prepared] == [
        {"host": "0000:00:05.0"},
        {"host": "0000:00:10.0"},
        {"sysfsdev": f"/sys/bus/mdev/devices/{UUID}"},
    ]
    assert prepared[0].driver == "serial"
    assert prepared[0].devices == ("0000:00:05.0",)
    assert await devices.release(host, "serial0") == ()
    assert machine.driver_of("0000:00:05.0") == "serial"
    assert await devices.recover(host) == devices.Recovered((), (), ())


async def test_leaving_the_host_gives_all_back(place: Path, machine: Machine) -> None:
    async with open_local_host(deadline=Deadline.after(20)) as host:
        await devices.prepare(host, PciAssignment("serial0", "00:05.0"))
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"
    assert machine.driver_of("0000:00:05.0") == "serial"


async def test_a_blocker_is_raised_as_what_it_is(host: Host, machine: Machine) -> None:
    """A mistake before what the machine lacks, and that before a missing capability."""
    nothing = PciAssignment("a", "00:1e.0")
    iommufd = MdevAssignment("b", "mtty", "mtty-1", container="iommufd")
    found = await devices.preflight(host, [iommufd, nothing], 0, "local")
    assert [blocker.device for blocker in found.blockers] == ["b", "a"]
    with pytest.raises(UserMistake, match="a: there is no PCI device 0000:00:1e"):
        found.raise_if_blocked()
    with pytest.raises(MissingCapability, match="has no iommufd") as caught:
        (await devices.preflight(host, [iommufd], 0, "local")).raise_if_blocked()
    assert caught.value.capability == "iommufd"
    machine.text("proc/interrupts", "  4:  0  IO-APIC  4-edge  ttyS0")
    with pytest.raises(Unusable, match="does not remap interrupts"):
        (await devices.preflight(host, [PciAssignment("c", "00:05.0"), iommufd], 0, "local")).raise_if_blocked()


async def test_preparing_raises_the_same(host: Host, machine: Machine) -> None:
    with pytest.raises(UserMistake, match="there is no PCI device"):
        await devices.prepare(host, PciAssignment("a", "00:1e.0"))
    machine.create_mdev("mtty", "mtty-1", UUID)
    with pytest.raises(UserMistake, match=UUID):
        await devices.prepare(host, MdevAssignment("b", "mtty", "mtty-2", UUID))
    (machine.device("0000:00:05.0") / "class").write_text("0x060400\n")
    (machine.device("0000:00:05.0") / "iommu_group").unlink()
    with pytest.raises(UserMistake, match="is a bridge"):
        await devices.prepare(host, PciAssignment("c", "00:05.0"))


async def test_another_run_s_device_is_refused(host: Host, machine: Machine) -> None:
    """Between its binding and its guest's start nobody has it open yet."""
    await devices.prepare(host, PciAssignment("card", "00:07.0/01.0"))
    async with open_local_host(deadline=Deadline.after(20)) as other:
        with pytest.raises(
            UserMistake, match=r"0000:01:02\.0 \(IOMMU group 7\) is prepared by another passthru, process \d+"
        ):
            await devices.prepare(other, PciAssignment("card", "0000:01:02.0"))
    assert machine.driver_of("0000:01:02.0") == "vfio-pci"


async def test_by_hand(host: Host, machine: Machine) -> None:
    bound = await devices.bind(host, "1b36:0002")
    assert (bound.address, bound.before, bound.driver) == ("0000:00:05.0", "serial", "vfio-pci")
    assert (await devices.unbind(host, "00:05.0")).driver == "serial"
    uuid = await devices.create_mdev(host, "mtty", "mtty-1")
    types = (await devices.mdev_types(host))["mtty"]
    assert [(kind.type, kind.available_instances, kind.devices) for kind in types] == [
        ("mtty-1", 23, (uuid,)),
        ("mtty-2", 11, ()),
    ]
    await devices.remove_mdev(host, uuid)
