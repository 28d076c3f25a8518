# SPDX-License-Identifier: GPL-2.0-or-later
"""Platform and AMBA devices and DPAA2 containers of a made machine: prepared, given back, bound by hand, killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.devices import steps
from passthru.worker.devices.operations import Operations
from passthru.worker.protocol import MISTAKE, UNUSABLE
from tests.unit.worker import fake_chip, kill_tests
from tests.unit.worker.asking import prepare, refused
from tests.unit.worker.fake_chip import RESET_REQUIRED, ChipMachine, ChipSystem, usual_chip
from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = {"name": "clock", "bus": "amba", "host": "9010000.pl031", "unsafe": True, "container": "type1"}
COPY = {"name": "copy", "bus": "platform", "host": "7fc00000.copy", "reset_required": False, "container": "type1"}
FREE = {"name": "free", "bus": "fsl-mc", "host": "dprc.2", "container": "type1"}
TAKEN = {"name": "taken", "bus": "fsl-mc", "host": "dprc.3", "container": "type1"}


@pytest.fixture
def machine(tmp_path: Path) -> ChipMachine:
    return usual_chip(tmp_path / "machine")


@pytest.fixture
def system(machine: ChipMachine) -> ChipSystem:
    return ChipSystem(str(machine.root))


@pytest.fixture
def operations(system: ChipSystem) -> Operations:
    return Operations(system)


class TestOnTheTree:
    def test_an_amba_device_and_its_driver(self, operations: Operations, machine: ChipMachine) -> None:
        before = snapshot(str(machine.root))
        assert prepare(operations, CLOCK) == {
            "name": "clock",
            "bus": "amba",
            "qemu_device": "vfio-platform",
            "qemu": {"host": "9010000.pl031"},
            "address": "9010000.pl031",
            "uuid": None,
            "group": "1",
            "cdev": None,
            "devices": ["9010000.pl031"],
            "driver": "rtc-pl031",
            "notes": [],
        }
        assert machine.driver_on("amba", "9010000.pl031") == "vfio-amba"
        assert operations.answer({"do": "release", "name": "clock"}) == {"failed": []}
        assert machine.driver_on("amba", "9010000.pl031") == "rtc-pl031"
        assert operations.end() == []
        assert snapshot(str(machine.root)) == before

    @pytest.mark.parametrize("host", ["/bus/copy@7fc00000", "passthru,copy-engine", "7fc00000.copy"])
    def test_a_platform_device_by_what_the_tree_calls_it(
        self, operations: Operations, machine: ChipMachine, host: str
    ) -> None:
        """It had no driver yet, so its IOMMU is asked, and its group known, only when it is bound."""
        assert not (machine.on("platform", "7fc00000.copy") / "iommu_group").exists()
        prepared = prepare(operations, COPY | {"host": host})
        assert (prepared["address"], prepared["group"], prepared["driver"]) == ("7fc00000.copy", "4", None)
        assert machine.driver_on("platform", "7fc00000.copy") == "vfio-platform"
        assert operations.end() == []
        assert machine.driver_on("platform", "7fc00000.copy") is None

    def test_a_group_moves_together(self, operations: Operations, machine: ChipMachine) -> None:
        before = snapshot(str(machine.root))
        prepared = prepare(operations, COPY | {"host": "a000000.pair"})
        assert prepared["devices"] == ["a000000.pair", "a001000.pair"]
        assert prepared["notes"] == ["a001000.pair is in IOMMU group 5 too and went with it, to vfio-platform"]
        assert prepare(operations, COPY | {"host": "a001000.pair", "name": "other"})["devices"] == []
        assert operations.answer({"do": "release", "name": "copy"}) == {"failed": []}
        assert machine.driver_on("platform", "a001000.pair") == "vfio-platform"  # the other one's now
        assert operations.end() == []
        assert snapshot(str(machine.root)) == before

    @pytest.mark.parametrize("loaded", [False, True])
    def test_the_module_is_told_of_resets(self, operations: Operations, machine: ChipMachine, loaded: bool) -> None:
        """Where it is loaded already, and idle, it is loaded anew, and again as it was."""
        if loaded:
            machine.load("vfio_platform", {})
        before = snapshot(str(machine.root))
        prepare(operations, COPY)
        assert (machine.root / RESET_REQUIRED).read_text() == "N\n"
        assert operations.end() == []
        assert not loaded or (machine.root / RESET_REQUIRED).read_text() == "Y\n"
        assert snapshot(str(machine.root)) == before

    def test_a_module_that_somebody_uses_meanwhile_stays_as_it_is(
        self, operations: Operations, machine: ChipMachine
    ) -> None:
        machine.load("vfio_platform", {})
        prepare(operations, COPY)
        machine.unbind_on("platform", "a000000.pair", "pairs")
        (machine.on("platform", "a000000.pair") / "driver_override").write_text("vfio-platform\n")
        machine.bind_on("platform", "a000000.pair", "vfio-platform")
        assert operations.end() == []
        assert machine.driver_on("platform", "a000000.pair") == "vfio-platform"
        assert (machine.root / RESET_REQUIRED).read_text() == "N\n"

    def test_what_the_driver_refuses_is_as_before_and_says_why(
        self, operations: Operations, machine: ChipMachine
    ) -> None:
        """A module that seems to be a reset driver for it is none."""
        machine.load("vfio_platform", {})
        (machine.sys / "module/vfio_platform_base/holders/xgmac").mkdir()
        before = snapshot(str(machine.root))
        error = refused(operations, "prepare", assignment=COPY | {"reset_required": True})
        assert error.kind == UNUSABLE
        assert "binding 7fc00000.copy to vfio-platform failed: No such file or directory; 7fc00000.copy has no" in str(
            error
        )
        assert str(error).endswith("all is as before")
        after = snapshot(str(machine.root))
        assert after == before

    def test_the_same_twice(self, operations: Operations) -> None:
        prepare(operations, CLOCK)
        assert "already, as clock" in str(refused(operations, "prepare", assignment=CLOCK | {"name": "other"}))

    def test_an_mdev_of_a_platform_parent(self, operations: Operations, machine: ChipMachine) -> None:
        machine.parent("mtty")
        kind = machine.sys / "class/mdev_bus/mtty/mdev_supported_types/mtty-1"
        (kind / "device_api").write_text("vfio-platform\n")
        wanted = {"name": "m", "bus": "mdev", "parent": "mtty", "type": "mtty-1", "container": "type1"}
        prepared = prepare(operations, wanted)
        assert (prepared["bus"], prepared["qemu_device"]) == ("mdev", "vfio-platform")
        assert prepared["qemu"] == {"sysfsdev": f"/sys/bus/mdev/devices/{prepared['uuid']}"}


class TestContainers:
    def test_the_objects_go_along_and_come_back(self, operations: Operations, machine: ChipMachine) -> None:
        before = snapshot(str(machine.root))
        prepared = prepare(operations, TAKEN)
        assert prepared["devices"] == ["dprc.3", "dpbp.3", "dpcon.3", "dpni.3"]
        assert (prepared["driver"], prepared["group"], prepared["qemu_device"]) == ("fsl_mc_dprc", "18", "vfio-fsl-mc")
        assert {machine.driver_on("fsl-mc", name) for name in prepared["devices"]} == {"vfio-fsl-mc"}
        assert operations.end() == []
        # What a user had told the kernel of single objects holds again, though their devices were made anew.
        assert machine.driver_on("fsl-mc", "dpbp.3") == "mine"
        assert machine.driver_on("fsl-mc", "dpcon.3") is None
        assert snapshot(str(machine.root)) == before

    def test_one_without_a_driver_shows_its_objects_then(self, operations: Operations, machine: ChipMachine) -> None:
        before = snapshot(str(machine.root))
        prepared = prepare(operations, FREE)
        assert prepared["devices"] == ["dprc.2", "dpbp.1", "dpmcp.2", "dpni.0"]
        assert (prepared["driver"], prepared["group"]) == (None, "17")
        assert operations.end() == []
        assert snapshot(str(machine.root)) == before

    def test_without_a_group_it_is_never_bound(self, operations: Operations, machine: ChipMachine) -> None:
        """The made kernel raises AssertionError where the real one would crash."""
        for name in ("dprc.1", "dprc.3"):
            (machine.on("fsl-mc", name) / "iommu_group").unlink()
        before = snapshot(str(machine.root))
        for wanted, asked in ((TAKEN, "dprc.3"), (FREE, "dprc.1")):
            error = refused(operations, "prepare", assignment=wanted)
            assert f"no IOMMU translates for {asked}" in str(error)
            assert "no IOMMU translates" in str(refused(operations, "bind", host=wanted["host"], driver=None))
        assert snapshot(str(machine.root)) == before  # not even a module was loaded

    def test_an_object_that_stays_behind_undoes_all(self, operations: Operations, machine: ChipMachine) -> None:
        machine.load("vfio_fsl_mc", {})
        before = snapshot(str(machine.root))
        machine.of_chip("fsl-mc", "aaa", ["dpni"])
        scan = ChipMachine._scan

        def without_overrides(self: ChipMachine, container: str, driver: str) -> None:
            scan(self, container, "fsl_mc_dprc" if driver == "vfio-fsl-mc" else driver)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ChipMachine, "_scan", without_overrides)
            error = refused(operations, "prepare", assignment=FREE)
        assert "did not go to vfio-fsl-mc with its container dprc.2" in str(error)
        assert snapshot(str(machine.root)) == before

    def test_one_that_is_open_is_waited_for_and_named(
        self, operations: Operations, machine: ChipMachine, system: ChipSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(steps, "_LET_GO_SECONDS", 0.02)
        before = snapshot(str(machine.root))
        prepare(operations, TAKEN)
        machine.text("dev/vfio/18", "busy")
        (failed,) = operations.end()
        assert "dprc.3 is still open by process 4711 (/dev/vfio/18)" in failed
        machine.text("dev/vfio/18", "")
        assert Operations(system).answer({"do": "recover"})["failed"] == []
        assert snapshot(str(machine.root)) == before


class TestByHand:
    @pytest.mark.parametrize(
        ("host", "bus", "name", "driver"),
        [
            ("amba:9010000.pl031", "amba", "9010000.pl031", "rtc-pl031"),
            ("9010000.pl031", "amba", "9010000.pl031", "rtc-pl031"),
            ("platform:passthru,copy-engine", "platform", "7fc00000.copy", None),
            ("fsl-mc:dprc.3", "fsl-mc", "dprc.3", "fsl_mc_dprc"),
            ("dprc.2", "fsl-mc", "dprc.2", None),
        ],
    )
    def test_it_outlives_the_worker_until_it_is_undone(
        self, machine: ChipMachine, system: ChipSystem, host: str, bus: str, name: str, driver: str | None
    ) -> None:
        (machine.sys / "module/vfio_reset_stub").mkdir()
        before = snapshot(str(machine.root))
        first = Operations(system)
        bound = first.answer({"do": "bind", "host": host, "driver": None})
        assert (bound["address"], bound["driver"], bound["before"]) == (name, f"vfio-{bus}", driver)
        assert first.end() == []
        second = Operations(system)
        assert second.answer({"do": "recover"})["undone"] == []
        assert machine.driver_on(bus, name) == f"vfio-{bus}"
        assert second.answer({"do": "unbind", "host": host})["driver"] == driver
        assert snapshot(str(machine.root)) == before

    def test_to_another_driver(self, operations: Operations, machine: ChipMachine) -> None:
        machine.of_chip("amba", "mine")
        assert "no driver of the bus amba 'nobody'" in str(
            refused(operations, "bind", host="9010000.pl031", driver="nobody")
        )
        operations.answer({"do": "bind", "host": "9010000.pl031", "driver": "mine"})
        assert machine.driver_on("amba", "9010000.pl031") == "mine"
        assert operations.answer({"do": "unbind", "host": "9010000.pl031"})["driver"] == "rtc-pl031"

    def test_what_was_not_bound_by_hand(self, operations: Operations, machine: ChipMachine) -> None:
        error = refused(operations, "unbind", host="dprc.3")
        assert "dprc.3 is not bound to vfio-fsl-mc: its driver is fsl_mc_dprc" in str(error)
        machine.load("vfio_fsl_mc", {})
        machine.unbind_on("fsl-mc", "dprc.3", "fsl_mc_dprc")
        (machine.on("fsl-mc", "dprc.3") / "driver_override").write_text("vfio-fsl-mc\n")
        machine.bind_on("fsl-mc", "dprc.3", "vfio-fsl-mc")
        assert operations.answer({"do": "unbind", "host": "dprc.3"})["driver"] == "fsl_mc_dprc"


TRANSACTIONS: dict[str, list[dict[str, Any]]] = {
    "amba": [CLOCK],
    "platform, with a group": [COPY | {"host": "a000000.pair"}, COPY | {"name": "second"}],
    "fsl-mc": [TAKEN, FREE],
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", TRANSACTIONS)
class TestAWorker:
    def test_that_is_killed_at_a_step_is_recovered(self, machine: ChipMachine, name: str, when: str) -> None:
        act = kill_tests.prepare_and_release(TRANSACTIONS[name])
        steps = list(kill_tests.killed(fake_chip.COMMAND, str(machine.root), act, when))
        assert len(steps) >= 10  # two modules, unbind, override, bind: done and undone

    def test_whose_stream_ends_at_a_step_undoes_all_at_once(self, machine: ChipMachine, name: str, when: str) -> None:
        act = kill_tests.prepare_and_release(TRANSACTIONS[name])
        assert len(list(kill_tests.hung_up(fake_chip.COMMAND, str(machine.root), act, when))) >= 10


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_module_that_is_loaded_anew_is_as_before(machine: ChipMachine, when: str) -> None:
    machine.load("vfio_platform", {})
    act = kill_tests.prepare_and_release([COPY])
    for number in kill_tests.killed(fake_chip.COMMAND, str(machine.root), act, when):
        assert (machine.root / RESET_REQUIRED).read_text() == "Y\n", number


def test_the_snapshot_sees_what_is_prepared(operations: Operations, machine: ChipMachine) -> None:
    before = snapshot(str(machine.root))
    for wanted in (CLOCK, TAKEN):
        prepare(operations, wanted)
    during = snapshot(str(machine.root))
    changed = {key for key in before if before[key] != during[key]}
    assert changed == {"amba 9010000.pl031", "modules", *(f"fsl-mc {n}.3" for n in ("dprc", "dpni", "dpbp", "dpcon"))}


def test_a_wrong_assignment(operations: Operations) -> None:
    assert refused(operations, "prepare", assignment=COPY | {"reset_required": "no"}).kind == "request"
    assert refused(operations, "prepare", assignment=CLOCK | {"container": "noiommu"}).kind == MISTAKE
    assert refused(operations, "prepare", assignment={k: v for k, v in FREE.items() if k != "host"}).kind == "request"


class TestContents:
    """Objects are moved into containers and out of them by hand, but of those that a guest holds."""

    def test_into_a_container_and_out_of_it(self, operations: Operations, machine: ChipMachine) -> None:
        assert machine.driver_on("fsl-mc", "dpbp.9") == "fsl_mc_allocator"
        moved = operations.answer({"do": "object-add", "object": "dpbp.9", "container": "dprc.3"})
        assert moved == {"object": "dpbp.9", "container": "dprc.3", "before": "dprc.1"}
        assert machine.on("fsl-mc", "dpbp.9").parent.name == "dprc.3"
        assert "dpbp.9" in prepare(operations, TAKEN)["devices"]
        assert operations.end() == []
        back = operations.answer({"do": "object-remove", "object": "dpbp.9", "container": "dprc.3"})
        assert back == {"object": "dpbp.9", "container": "dprc.1", "before": "dprc.3"}
        assert machine.on("fsl-mc", "dpbp.9").parent.name == "dprc.1"

    @pytest.mark.parametrize("do", ["object-add", "object-remove"])
    def test_never_of_one_that_a_guest_holds(
        self, operations: Operations, machine: ChipMachine, system: ChipSystem, do: str
    ) -> None:
        before = (machine.on("fsl-mc", "dprc.3") / ".objects").read_text()
        named = {"object": "dpbp.9" if do == "object-add" else "dpni.3", "container": "dprc.3"}
        prepare(operations, TAKEN)
        assert "is held by a guest (it is prepared for a guest)" in str(refused(operations, do, **named))
        assert operations.answer({"do": "release", "name": "taken"}) == {"failed": []}
        operations.answer({"do": "bind", "host": "dprc.3", "driver": None})
        machine.text("dev/vfio/18", "busy")
        error = refused(operations, do, **named)
        assert error.kind == MISTAKE
        assert "dprc.3 is held by a guest (process 4711 has /dev/vfio/18 open)" in str(error)
        assert (machine.on("fsl-mc", "dprc.3") / ".objects").read_text() == before

    def test_nor_of_one_that_another_worker_has_prepared(self, machine: ChipMachine, operations: Operations) -> None:
        other = kill_tests.Harness(fake_chip.COMMAND, "--roots", str(machine.root))
        other.ask("prepare", assignment=TAKEN)
        error = refused(operations, "object-remove", object="dpni.3", container="dprc.3")
        assert f"another passthru, process {other.process.pid}, has prepared it for a guest" in str(error)
        assert "is prepared by another passthru" in str(refused(operations, "prepare", assignment=TAKEN))
        assert other.hang_up() == 0

    @pytest.mark.parametrize(
        ("do", "object_", "container", "words"),
        [
            ("object-add", "dpbp.7", "dprc.2", "dpbp.7 is not in dprc.1, from which dprc.2 gets its objects"),
            ("object-add", "dpbp", "dprc.2", "'dpbp' names no object"),
            ("object-add", "dprc.3", "dprc.2", "'dprc.3' names no object"),
            ("object-add", "dpbp.9", "dprc.1", "is the root container"),
            ("object-remove", "dpbp.7", "dprc.2", "moves dpbp.7 neither into dprc.2 nor out of it: No such device"),
        ],
    )
    def test_what_is_not_there(self, operations: Operations, do: str, object_: str, container: str, words: str) -> None:
        assert words in str(refused(operations, do, object=object_, container=container))

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_container_gets_its_driver_back_whatever_dies(self, machine: ChipMachine, when: str) -> None:
        def act(worker: kill_tests.Harness) -> None:
            with pytest.raises(AssertionError, match=r"moves dpbp\.7 neither"):
                worker.ask("object-remove", object="dpbp.7", container="dprc.3")

        assert len(list(kill_tests.killed(fake_chip.COMMAND, str(machine.root), act, when))) >= 4
