# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of this very machine that cannot be assigned: one sentence, before anything is fetched, nothing touched.

Where they can be is tested in a rig, which is a machine to try such things on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.worker.kill_tests import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.harness import Command, Ended

NOWHERE = "ffff:ff:1f.7"
"""An address that no machine has."""
UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"

PCI = '[device.card]\nbus = "pci"\nhost = "{}"\n[check.log]\nuse = "dmesg"\n'
MDEV = '[device.card]\nbus = "mdev"\nparent = "no-such-parent"\ntype = "mtty-2"\n[check.log]\nuse = "dmesg"\n'


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Drivers, overrides, virtual functions and mdevs of this machine are the same at the end."""
    before = _devices()
    yield
    assert _devices() == before


@pytest.fixture
def cache(passthru: Command, tmp_path: Path) -> Path:
    """The command's cache, which is empty; and nothing can be fetched."""
    path = tmp_path / "cache"
    passthru.environment = {"PASSTHRU_CACHE": str(path), "PASSTHRU_DEBIAN_MIRROR": "http://127.0.0.1:9/debian"}
    return path


def _devices() -> dict[str, object]:
    return {name: value for name, value in snapshot("").items() if name not in ("modules", "journals")}


def says(ended: Ended, status: int, words: str) -> None:
    assert ended.status == status, ended
    assert "Traceback" not in ended.stderr
    assert words in ended.stdout + ended.stderr, ended


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (PCI.format(NOWHERE), f"card: there is no PCI device {NOWHERE} on this host"),
        (PCI.format("dead:beef"), "card: there is no PCI device dead:beef on this host"),
        (PCI.format("card0"), "device.card.host"),
        (MDEV, "card: there is no parent 'no-such-parent' of mdevs on this host"),
        (MDEV + "container = 1\n", "container"),
    ],
)
def test_a_device_that_is_not_there(passthru: Command, cache: Path, tmp_path: Path, scenario: str, words: str) -> None:
    (tmp_path / "a.toml").write_text(scenario)
    says(passthru("run", str(tmp_path / "a.toml")), 2, words)
    assert not cache.exists()


@pytest.mark.parametrize("container", ["type1", "iommufd"])
def test_a_machine_without_iommu(passthru: Command, cache: Path, tmp_path: Path, container: str) -> None:
    address = _a_device()
    scenario = PCI.format(address).replace("[check", f'container = "{container}"\n[check')
    (tmp_path / "a.toml").write_text(scenario)
    says(passthru("run", str(tmp_path / "a.toml")), 125, "card: this host has no IOMMU")
    ended = passthru("doctor", str(tmp_path / "a.toml"))
    says(ended, 125, "this host has no IOMMU")
    says(ended, 125, 'host.kind = "rig"')
    says(passthru("bind", address), 125, "this host has no IOMMU")
    assert not cache.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bind", NOWHERE), f"there is no PCI device {NOWHERE}"),
        (("unbind", NOWHERE), f"there is no PCI device {NOWHERE}"),
        (("bind", "nonsense"), "'nonsense' names no PCI device"),
        (("mdev", "create", "no-such-parent", "mtty-2"), "there is no parent 'no-such-parent' of mdevs"),
        (("mdev", "remove", UUID), f"there is no mdev {UUID}"),
        (("mdev", "export", UUID), f"there is no mdev {UUID}"),
        (("mdev", "remove", "me"), "'me' is no UUID"),
    ],
)
def test_by_hand(passthru: Command, words: tuple[str, ...], said: str) -> None:
    says(passthru(*words), 2, said)


def _a_device() -> str:
    """A PCI device of this machine; it has none of what assigning one takes, or the test is skipped."""
    tables = (Path("/sys/firmware/acpi/tables") / name for name in ("DMAR", "IVRS", "VIOT"))
    if any(Path("/sys/kernel/iommu_groups").glob("*")) or any(table.exists() for table in tables):
        pytest.skip("this machine has an IOMMU, so its devices could be assigned")
    for device in sorted(Path("/sys/bus/pci/devices").glob("*")):
        if not (device / "class").read_text().startswith("0x0604"):
            return device.name
    pytest.skip("this machine has no PCI device")
