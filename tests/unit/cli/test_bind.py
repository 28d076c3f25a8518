# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru bind`` and ``unbind``: what is said, what is done, and that all of it goes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.conftest import Ended
    from tests.unit.worker.fake_sysfs import Machine

SERIAL = "0000:00:05.0"


def test_a_device_is_bound_and_given_back(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    ended = passthru("bind", "00:05.0")
    assert ended.status == 0, ended
    assert ended.out.splitlines()[0] == f"{SERIAL} is bound to vfio-pci; before, its driver was serial"
    assert "/dev/vfio/5" in ended.out
    assert on_machine.driver_of(SERIAL) == "vfio-pci"

    again = passthru("bind", "00:05.0")
    assert (again.status, again.out.splitlines()[0]) == (0, f"{SERIAL} was bound to vfio-pci already")

    ended = passthru("unbind", "00:05.0")
    assert ended.status == 0, ended
    assert ended.out.splitlines()[-1] == f"the driver of {SERIAL} is serial"
    assert untouched()


def test_its_group_goes_with_it_and_comes_back(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    ended = passthru("bind", "00:07.0/01.0")
    assert ended.status == 0, ended
    for member in ("0000:00:07.0", "0000:01:02.0", "0000:01:02.1"):
        assert f"{member}, which shares IOMMU group 7 with it, went with it" in ended.out
    assert on_machine.driver_of("0000:01:02.1") == "vfio-pci"
    assert passthru("unbind", "01:02.0").status == 0  # any of them stands for all
    assert untouched()


def test_another_driver_than_vfio_pci(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    ended = passthru("bind", "00:06.0", "--driver", "serial")
    assert ended.status == 0, ended
    assert "/dev/vfio" not in ended.out
    assert on_machine.driver_of("0000:00:06.0") == "serial"
    ended = passthru("unbind", "00:06.0")
    assert ended.out.splitlines()[-1] == "the driver of 0000:00:06.0 is none"
    assert untouched()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bind", "00:1f.0"), "there is no PCI device 0000:00:1f.0"),
        (("bind", "nonsense"), "'nonsense' names no PCI device"),
        (("bind", "1b36:0002"), "2 PCI devices of this host are 1b36:0002"),
        (("bind", "dead:beef"), "there is no PCI device dead:beef"),
        (("bind", "00:04.0"), "is a bridge"),
        (("bind", "00:05.0", "--driver", "warp"), "no PCI driver 'warp'"),
        (("bind", "00:08.0"), "the network interface eth0 is up"),
        (("bind", "00:08.0", "--driver", "serial"), "the network interface eth0 is up"),
        (("unbind", "00:05.0"), "is not bound to vfio-pci"),
        (("bind",), "DEVICE"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    passthru: Callable[..., Ended],
    on_machine: Machine,
    words: tuple[str, ...],
    said: str,
) -> None:
    on_machine.below("0000:00:08.0", "net", "eth0", flags="0x1003")
    on_machine.text("proc/net/route", "Iface\tDestination\neth0\t00000000")
    on_machine.add("0000:00:09.0", "1b36:0002", 9)
    before = on_machine.driver_of(SERIAL), on_machine.driver_of("0000:00:08.0")
    ended = passthru(*words)
    assert ended.status == 2, ended
    assert said in ended.err
    assert ended.out == ""
    assert (on_machine.driver_of(SERIAL), on_machine.driver_of("0000:00:08.0")) == before


def test_a_device_that_a_guest_has(passthru: Callable[..., Ended], on_machine: Machine) -> None:
    passthru("bind", "00:05.0")
    on_machine.text("dev/vfio/5", "busy")
    ended = passthru("unbind", "00:05.0")
    assert ended.status == 125, ended
    assert "is still open by process 4711" in ended.err
    assert on_machine.driver_of(SERIAL) == "vfio-pci"
    on_machine.text("dev/vfio/5", "")
    assert passthru("unbind", "00:05.0").status == 0
    assert on_machine.driver_of(SERIAL) == "serial"


def test_a_machine_without_iommu(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    (on_machine.root / "sys/class/iommu/dmar0").rmdir()
    (on_machine.root / "sys/firmware/acpi/tables/DMAR").unlink()
    for group in (on_machine.root / "sys/kernel/iommu_groups").iterdir():
        for member in (group / "devices").iterdir():
            (member.resolve() / "iommu_group").unlink()
            member.unlink()
    ended = passthru("bind", "00:05.0")
    assert ended.status == 125, ended
    assert "this host has no IOMMU" in ended.err
    assert on_machine.driver_of(SERIAL) == "serial"
