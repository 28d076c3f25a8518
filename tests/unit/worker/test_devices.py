# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of a made machine, prepared and given back, and what others do to them meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from passthru.worker.devices import steps
from passthru.worker.devices.operations import Operations
from passthru.worker.protocol import MISSING, MISTAKE, REQUEST, UNUSABLE
from tests.unit.worker.asking import prepare, refused
from tests.unit.worker.fake_sysfs import NOIOMMU, FakeSystem
from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from tests.unit.worker.fake_sysfs import Machine

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
SERIAL = {"name": "serial0", "bus": "pci", "host": "00:05.0", "container": "type1"}
CARD = {"name": "card0", "bus": "pci", "host": "00:07.0/01.0", "container": "type1"}
MTTY = {"name": "mtty0", "bus": "mdev", "parent": "mtty", "type": "mtty-2", "uuid": UUID, "container": "type1"}


@pytest.fixture
def system(machine: Machine) -> FakeSystem:
    return FakeSystem(str(machine.root))


@pytest.fixture
def operations(system: FakeSystem) -> Operations:
    return Operations(system)


class TestPci:
    def test_a_device_and_its_driver(self, operations: Operations, machine: Machine) -> None:
        prepared = prepare(operations, SERIAL)
        assert prepared == {
            "name": "serial0",
            "bus": "pci",
            "qemu_device": "vfio-pci",
            "qemu": {"host": "0000:00:05.0"},
            "address": "0000:00:05.0",
            "uuid": None,
            "group": "5",
            "cdev": None,
            "devices": ["0000:00:05.0"],
            "driver": "serial",
            "notes": [],
        }
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"
        assert operations.answer({"do": "release", "name": "serial0"}) == {"failed": []}
        assert machine.driver_of("0000:00:05.0") == "serial"

    def test_a_group_moves_together(self, operations: Operations, machine: Machine) -> None:
        """Every function behind the bridge goes to vfio-pci; the bridge itself is without its driver meanwhile."""
        before = snapshot(str(machine.root))
        prepared = prepare(operations, CARD)
        drivers = {address: machine.driver_of(address) for address in prepared["devices"]}
        assert drivers == {
            "0000:00:07.0": None,
            "0000:01:01.0": "vfio-pci",
            "0000:01:02.0": "vfio-pci",
            "0000:01:02.1": "vfio-pci",
        }
        assert len(prepared["notes"]) == 3
        assert "0000:00:07.0 (1b36:000e) is in IOMMU group 7 too" in prepared["notes"][0]
        assert operations.end() == []
        assert snapshot(str(machine.root)) == before

    def test_two_of_a_group(self, operations: Operations, machine: Machine) -> None:
        """The first one's steps are the second one's when the first is released."""
        before = snapshot(str(machine.root))
        prepare(operations, CARD)
        assert prepare(operations, CARD | {"name": "card1", "host": "0000:01:02.0"})["devices"] == []
        assert operations.answer({"do": "release", "name": "card0"}) == {"failed": []}
        assert machine.driver_of("0000:01:02.0") == "vfio-pci"
        assert operations.answer({"do": "release", "name": "card1"}) == {"failed": []}
        assert machine.driver_of("0000:01:02.0") == "e1000"
        assert operations.end() == []
        assert snapshot(str(machine.root)) == before

    def test_virtual_functions(self, operations: Operations, machine: Machine) -> None:
        prepared = prepare(operations, SERIAL | {"host": "8086:10c9", "vf": 1, "vfs": 3})
        assert prepared["qemu"] == {"host": "0000:00:10.1"}
        assert prepared["driver"] is None  # igbvf was kept from it
        assert machine.driver_of("0000:00:08.0") == "igb"
        assert (machine.device("0000:00:08.0") / "net/card0/flags").read_text() == "0x1003\n"
        error = refused(operations, "prepare", assignment=SERIAL | {"name": "b", "host": "8086:10c9", "vf": 5})
        assert "has 3 virtual functions already, 6 are asked for" in str(error)
        assert operations.end() == []
        assert not (machine.sys / "bus/pci/devices/0000:00:10.1").exists()

    def test_one_that_is_with_vfio_already_stays_there(self, operations: Operations, machine: Machine) -> None:
        operations.answer({"do": "bind", "host": "00:05.0", "driver": "vfio-pci"})
        assert "stays so" in prepare(operations, SERIAL)["notes"][0]
        assert operations.end() == []
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"

    def test_one_that_vfio_refuses_is_as_before(self, operations: Operations, machine: Machine) -> None:
        before = snapshot(str(machine.root))
        (machine.device("0000:00:05.0") / "class").write_text("0x060400\n")
        (machine.device("0000:01:02.1") / "class").write_text("0x060400\n")
        assert "is a bridge" in str(refused(operations, "prepare", assignment=SERIAL))
        machine.driver("odd", ["1b36:0010"])
        (machine.device("0000:01:02.1") / "driver_override").write_text("(null)\n")
        machine.probe("0000:01:02.1")
        (machine.device("0000:01:02.0") / "iommu_group").unlink()
        error = refused(operations, "prepare", assignment=CARD)
        assert error.kind == UNUSABLE
        assert "binding 0000:01:02.0 to vfio-pci failed: the kernel left it with no driver" in str(error)
        assert str(error).endswith("all is as before")
        after = snapshot(str(machine.root))
        assert {key for key in before if before[key] != after[key]} == {"0000:01:02.1"}  # by this test itself

    def test_the_same_twice(self, operations: Operations, machine: Machine) -> None:
        prepare(operations, SERIAL)
        assert "already, as serial0" in str(refused(operations, "prepare", assignment=SERIAL | {"name": "other"}))
        assert refused(operations, "prepare", assignment=SERIAL).kind == REQUEST
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"


class TestMdev:
    def test_made_and_removed(self, operations: Operations, machine: Machine) -> None:
        prepared = prepare(operations, MTTY)
        assert prepared["qemu"] == {"sysfsdev": f"/sys/bus/mdev/devices/{UUID}"}
        assert prepared["uuid"] == UUID
        assert prepared["group"] == "101"
        assert operations.answer({"do": "release", "name": "mtty0"}) == {"failed": []}
        assert not (machine.sys / "bus/mdev/devices" / UUID).exists()

    def test_types(self, operations: Operations) -> None:
        prepare(operations, MTTY)
        assert operations.answer({"do": "mdev-types"})["parents"] == [
            {
                "parent": "mtty",
                "types": [
                    {
                        "type": "mtty-1",
                        "name": "Single port serial",
                        "description": None,
                        "device_api": "vfio-pci",
                        "available_instances": 22,
                        "devices": [],
                    },
                    {
                        "type": "mtty-2",
                        "name": "Dual port serial",
                        "description": None,
                        "device_api": "vfio-pci",
                        "available_instances": 11,
                        "devices": [UUID],
                    },
                ],
            }
        ]

    def test_no_instances_left(self, operations: Operations) -> None:
        for number in range(12):
            prepare(operations, MTTY | {"name": f"mtty{number}", "uuid": None})
        error = refused(operations, "prepare", assignment=MTTY | {"name": "one more"})
        assert error.kind == MISTAKE
        assert "no instances of mtty-2 left" in str(error)

    def test_a_uuid_in_use(self, operations: Operations, machine: Machine) -> None:
        machine.create_mdev("mtty", "mtty-1", UUID)
        error = refused(operations, "prepare", assignment=MTTY)
        assert error.kind == MISTAKE
        assert UUID in str(error)
        assert operations.end() == []
        assert (machine.sys / "bus/mdev/devices" / UUID).exists()


class TestOthers:
    """What somebody else changed meanwhile is his."""

    def test_another_driver(self, operations: Operations, machine: Machine) -> None:
        prepare(operations, SERIAL)
        machine.unbind("0000:00:05.0", "vfio-pci")
        machine.driver("mine", ["1b36:0002"])
        (machine.device("0000:00:05.0") / "driver_override").write_text("mine\n")
        machine.bind("0000:00:05.0", "mine")
        assert operations.end() == []
        assert machine.driver_of("0000:00:05.0") == "mine"
        assert (machine.device("0000:00:05.0") / "driver_override").read_text() == "mine\n"

    def test_a_device_that_has_gone(self, operations: Operations, machine: Machine) -> None:
        prepare(operations, SERIAL)
        machine.unbind("0000:00:05.0", "vfio-pci")
        (machine.sys / "bus/pci/devices/0000:00:05.0").unlink()
        assert operations.end() == []

    def test_an_open_device_stays_and_is_recovered_later(
        self, operations: Operations, machine: Machine, system: FakeSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Unbinding it would wait for whoever has it open: it is told, and given back by the next `recover`."""
        monkeypatch.setattr(steps, "_LET_GO_SECONDS", 0.0)
        before = snapshot(str(machine.root))
        prepare(operations, SERIAL)
        prepare(operations, MTTY)
        machine.text("dev/vfio/5", "busy")
        (failed,) = operations.end()
        assert "0000:00:05.0 is still open by process 4711 (/dev/vfio/5)" in failed
        assert "passthru recover" in failed
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"
        assert not (machine.sys / "bus/mdev/devices" / UUID).exists()  # that one did not keep the others
        machine.text("dev/vfio/5", "")
        recovered = Operations(system).answer({"do": "recover"})
        assert recovered["failed"] == []
        assert "binding 0000:00:05.0 to vfio-pci" in recovered["undone"]
        assert snapshot(str(machine.root)) == before

    def test_vfio_pci_with_a_device_of_somebody_else_is_not_unloaded(
        self, operations: Operations, machine: Machine
    ) -> None:
        prepare(operations, SERIAL)
        (machine.device("0000:00:06.0") / "driver_override").write_text("vfio-pci\n")
        machine.probe("0000:00:06.0")
        assert operations.end() == []
        assert machine.driver_of("0000:00:06.0") == "vfio-pci"

    def test_another_boot_s_journal_is_dropped(
        self, operations: Operations, machine: Machine, system: FakeSystem
    ) -> None:
        prepare(operations, SERIAL)
        operations._ledger.close()
        machine.text("proc/sys/kernel/random/boot_id", "another-boot")
        assert Operations(system).answer({"do": "recover"}) == {"undone": [], "failed": [], "kept": []}
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"
        assert not list((machine.root / "run/passthru").glob("worker-*"))

    def test_a_living_worker_s_journal_is_left_alone(
        self, operations: Operations, machine: Machine, system: FakeSystem
    ) -> None:
        prepare(operations, SERIAL)
        assert Operations(system).answer({"do": "recover"}) == {"undone": [], "failed": [], "kept": []}
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"


class TestByHand:
    def test_it_outlives_the_worker_until_it_is_undone(self, machine: Machine, system: FakeSystem) -> None:
        before = snapshot(str(machine.root))
        first = Operations(system)
        bound = first.answer({"do": "bind", "host": "00:07.0/01.0", "driver": "vfio-pci"})
        assert bound["before"] == "serial"
        assert len(bound["devices"]) == 4
        assert first.end() == []
        second = Operations(system)
        assert second.answer({"do": "recover"})["undone"] == []
        assert machine.driver_of("0000:01:01.0") == "vfio-pci"
        assert second.answer({"do": "unbind", "host": "0000:01:02.0"})["driver"] == "e1000"
        assert snapshot(str(machine.root)) == before

    def test_to_another_driver(self, operations: Operations, machine: Machine) -> None:
        machine.driver("mine", [])
        operations.answer({"do": "bind", "host": "00:05.0", "driver": "mine"})
        assert machine.driver_of("0000:00:05.0") == "mine"
        assert operations.answer({"do": "unbind", "host": "00:05.0"})["driver"] == "serial"

    def test_to_a_driver_that_is_not_there(self, operations: Operations, machine: Machine) -> None:
        before = snapshot(str(machine.root))
        assert "no PCI driver 'nobody'" in str(refused(operations, "bind", host="00:05.0", driver="nobody"))
        assert snapshot(str(machine.root)) == before

    def test_what_was_not_bound_by_hand(self, operations: Operations, machine: Machine) -> None:
        assert "is not bound to vfio-pci: its driver is serial" in str(refused(operations, "unbind", host="00:05.0"))
        machine.load("vfio_pci", {})
        machine.unbind("0000:00:05.0", "serial")
        (machine.device("0000:00:05.0") / "driver_override").write_text("vfio-pci\n")
        machine.probe("0000:00:05.0")
        assert operations.answer({"do": "unbind", "host": "00:05.0"})["driver"] == "serial"

    def test_a_device_in_use(self, operations: Operations, machine: Machine) -> None:
        machine.below("0000:00:05.0", "tty", "ttyS0")
        assert "console" in str(refused(operations, "bind", host="00:05.0", driver="vfio-pci"))

    def test_mdevs(self, operations: Operations, machine: Machine, system: FakeSystem) -> None:
        made = operations.answer({"do": "mdev-create", "parent": "mtty", "type": "mtty-1", "uuid": None})
        assert operations.end() == []
        assert Operations(system).answer({"do": "recover"})["undone"] == []
        assert (machine.sys / "bus/mdev/devices" / made["uuid"]).exists()
        operations.answer({"do": "mdev-remove", "uuid": made["uuid"]})
        assert "there is no mdev" in str(refused(operations, "mdev-remove", uuid=made["uuid"]))


@pytest.mark.parametrize(
    "assignment",
    [
        {},
        {"bus": "usb"},
        {"bus": "pci", "name": "a", "container": "type1"},
        {"bus": "pci", "name": "a", "container": "none", "host": "00:05.0"},
        {"bus": "pci", "name": "a", "container": "type1", "host": "00:05.0", "vf": "0"},
        {"bus": "pci", "name": "a", "container": "type1", "host": "00:05.0", "vf": -1},
        MTTY | {"parent": "../../x"},
        MTTY | {"type": 2},
    ],
)
def test_a_wrong_assignment(operations: Operations, assignment: dict[str, Any]) -> None:
    assert refused(operations, "prepare", assignment=assignment).kind in (REQUEST, MISTAKE)


def test_unsafe_interrupts_are_allowed_and_forbidden_again(operations: Operations, machine: Machine) -> None:
    parameter = machine.sys / "module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
    prepare(operations, SERIAL | {"unsafe": True})
    assert parameter.read_text() == "Y\n"
    operations.end()
    machine.load("vfio_iommu_type1", {})
    prepare(operations, SERIAL | {"unsafe": True})
    assert parameter.read_text().strip() == "Y"
    operations.end()
    assert parameter.read_text().strip() == "N"


class TestWithoutIommu:
    """Devices that VFIO gives away without an IOMMU, for the conformance suite."""

    CARD: ClassVar = SERIAL | {"container": "noiommu"}

    def test_a_device_gets_a_group_of_vfios_own(self, operations: Operations, machine: Machine) -> None:
        machine.without_iommu()
        before = snapshot(str(machine.root))
        prepared = prepare(operations, self.CARD)
        assert prepared["group"] == "noiommu-0"
        assert (machine.root / "dev/vfio/noiommu-0").exists()
        assert prepared["driver"] == "serial"
        assert (machine.root / NOIOMMU).read_text() == "Y\n"
        assert operations.end() == []
        assert machine.driver_of("0000:00:05.0") == "serial"
        assert snapshot(str(machine.root)) == before

    def test_what_it_told_vfio_is_taken_back_where_the_module_stays(
        self, operations: Operations, machine: Machine
    ) -> None:
        machine.without_iommu()
        machine.load("vfio_pci", {})
        prepare(operations, self.CARD)
        assert operations.end() == []
        assert (machine.root / NOIOMMU).read_text() == "N\n"

    def test_where_a_user_had_told_vfio_so_it_stays(self, operations: Operations, machine: Machine) -> None:
        machine.without_iommu()
        machine.load("vfio_pci", {})
        (machine.root / NOIOMMU).write_text("Y\n")
        machine.bind_by_hand("0000:00:05.0")
        prepared = prepare(operations, self.CARD)
        assert (prepared["group"], prepared["devices"]) == ("noiommu-0", [])
        assert operations.end() == []
        assert machine.driver_of("0000:00:05.0") == "vfio-pci"
        assert (machine.root / NOIOMMU).read_text() == "Y\n"

    def test_one_behind_an_iommu_is_never_given_away_without(self, operations: Operations, machine: Machine) -> None:
        before = snapshot(str(machine.root))
        error = refused(operations, "prepare", assignment=self.CARD)
        assert error.kind == MISTAKE
        assert "an IOMMU translates for 0000:00:05.0 (IOMMU group 5)" in str(error)
        assert snapshot(str(machine.root)) == before

    def test_a_kernel_that_cannot_lacks_a_capability(self, operations: Operations, machine: Machine) -> None:
        machine.without_iommu(built=False)
        before = snapshot(str(machine.root))
        error = refused(operations, "prepare", assignment=self.CARD)
        assert (error.kind, error.capability) == (MISSING, "noiommu")
        assert "CONFIG_VFIO_NOIOMMU" in str(error)
        assert snapshot(str(machine.root)) == before

    def test_somebody_who_has_it_open_is_waited_for_and_named(
        self, operations: Operations, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steps, "_LET_GO_SECONDS", 0.02)
        machine.without_iommu()
        prepare(operations, self.CARD)
        (machine.root / "dev/vfio/noiommu-0").write_text("busy\n")
        (failed,) = operations.end()
        assert "is still open by process 4711 (/dev/vfio/noiommu-0)" in failed


class TestAnMdevThatIsThere:
    """One that was made by hand is taken as it stands, and stays."""

    THERE: ClassVar = MTTY | {"parent": None, "type": None}

    def test_it_stays(self, operations: Operations, machine: Machine) -> None:
        machine.create_mdev("mtty", "mtty-2", UUID)
        prepared = prepare(operations, self.THERE)
        assert (prepared["group"], prepared["devices"]) == ("101", [])
        assert prepared["notes"] == [f"the mdev {UUID} was made before and stays"]
        assert operations.end() == []
        assert (machine.sys / "bus/mdev/devices" / UUID).exists()

    def test_one_that_is_not_there_or_in_use_is_a_mistake(self, operations: Operations, machine: Machine) -> None:
        error = refused(operations, "prepare", assignment=self.THERE)
        assert (error.kind, str(error)) == (MISTAKE, f"there is no mdev {UUID} on this host; it has none")
        machine.create_mdev("mtty", "mtty-2", UUID)
        (machine.root / "dev/vfio/101").write_text("busy\n")
        error = refused(operations, "prepare", assignment=self.THERE)
        assert str(error) == f"the mdev {UUID} is in use by process 4711 (/dev/vfio/101); end that guest first"

    def test_half_of_what_makes_one_is_no_request(self, operations: Operations) -> None:
        assert refused(operations, "prepare", assignment=MTTY | {"parent": None}).kind == REQUEST
        assert refused(operations, "prepare", assignment=self.THERE | {"uuid": None}).kind == REQUEST
