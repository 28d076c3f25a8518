# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``passthru doctor`` says of this machine's devices: offers in general, blockers of a scenario, what was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.run.diagnosis import State
from passthru.run.doctor_devices import examine_devices
from passthru.scenario.loading import load
from tests.unit.cli.test_recover import killed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from passthru.run.diagnosis import Diagnosis
    from passthru.scenario.models import Scenario
    from tests.unit.worker.fake_sysfs import Machine

CARD = '[device.card]\nbus = "pci"\nhost = "{host}"\n'
MTTY = '[device.mtty0]\nbus = "mdev"\nparent = "mtty"\ntype = "{kind}"\n'
CHECK = '[check.log]\nuse = "dmesg"\n'


def scenario(place: Path, text: str) -> Scenario:
    (place / "a.toml").write_text(text + CHECK)
    return load(place / "a.toml")


def by_name(found: list[Diagnosis]) -> dict[str, Diagnosis]:
    names = [diagnosis.what for diagnosis in found]
    assert len(set(names)) == len(names), found
    return dict(zip(names, found, strict=True))


def test_what_a_machine_offers(on_machine: Machine, untouched: Callable[[], bool]) -> None:
    found = by_name(list(examine_devices()))
    assert {name: diagnosis.state for name, diagnosis in found.items()} == {
        "iommu": State.READY,
        "vfio": State.READY,
        "mdev": State.READY,
    }
    assert found["iommu"].text == "dmar0: 5 groups, interrupts are remapped"
    assert found["vfio"].text == "vfio-pci, vfio_iommu_type1, mdev; no iommufd"
    assert "mtty" in found["mdev"].text
    assert untouched()


def test_what_a_machine_without_all_that_lacks_keeps_nobody_from_rigs(on_machine: Machine) -> None:
    (on_machine.root / "sys/class/iommu/dmar0").rmdir()
    (on_machine.root / "sys/class/mdev_bus/mtty").unlink()
    for group in (on_machine.root / "sys/kernel/iommu_groups").iterdir():
        group.rename(on_machine.root / f"was-{group.name}")
    found = by_name(list(examine_devices()))
    assert (found["iommu"].state, found["mdev"].state) == (State.ABSENT, State.ABSENT)
    assert 'host.kind = "rig"' in found["iommu"].remedy


def test_what_was_left_says_recover(on_machine: Machine) -> None:
    killed(on_machine)
    left = by_name(list(examine_devices()))["recovery"]
    assert left.state is State.LEFT
    assert "passthru recover" in left.remedy


def test_devices_that_can_be_assigned(on_machine: Machine, tmp_path: Path, untouched: Callable[[], bool]) -> None:
    found = by_name(list(examine_devices(scenario(tmp_path, CARD.format(host="00:05.0") + MTTY.format(kind="mtty-2")))))
    assert {name: diagnosis.state for name, diagnosis in found.items()} == {
        "device card": State.READY,
        "device mtty0": State.READY,
    }
    assert untouched()


def test_each_blocker_with_its_fix(on_machine: Machine, tmp_path: Path, untouched: Callable[[], bool]) -> None:
    on_machine.text("dev/vfio/5", "")
    asked = scenario(tmp_path, CARD.format(host="00:1f.0") + MTTY.format(kind="mtty-9"))
    found = by_name(list(examine_devices(asked)))
    assert {diagnosis.state for diagnosis in found.values()} == {State.MISSING}
    assert "no PCI device 0000:00:1f.0" in found["device card"].text
    assert "mtty-1, mtty-2" in found["device mtty0"].remedy
    assert untouched()


def test_what_is_wrong_with_the_whole_machine_is_told_once(on_machine: Machine, tmp_path: Path) -> None:
    modules = on_machine.root / "lib/modules/6.12.0-fake/modules.dep"
    modules.write_text("")
    asked = scenario(tmp_path, CARD.format(host="00:05.0") + MTTY.format(kind="mtty-2"))
    told = [diagnosis for diagnosis in examine_devices(asked) if "vfio_iommu_type1" in diagnosis.text]
    assert [diagnosis.what for diagnosis in told] == ["this machine"]


def test_nothing_of_this_machine_where_a_rig_is_used(on_machine: Machine, tmp_path: Path) -> None:
    rig = '[host]\nkind = "rig"\n[host.hardware.card]\ndevice = "pci-serial"\n' + CARD.format(host="card")
    assert list(examine_devices(scenario(tmp_path, rig))) == []
