# SPDX-License-Identifier: GPL-2.0-or-later
"""Which stub is taken for a device, and what is said of a stub that the user wrote wrongly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.own_code import OwnCodeError
from passthru.vfio.stubs.catalogue import STUBS, from_file, stub_for
from passthru.vfio.stubs.dma_engine import DmaEngine
from passthru.vfio.stubs.edu import Edu
from passthru.vfio.stubs.igb import Igb
from passthru.vfio.stubs.mtty import Mtty
from passthru.vfio.stubs.pci_serial import PciSerial
from passthru.vfio.stubs.stub import Identity, Stub

if TYPE_CHECKING:
    from pathlib import Path

_STUB = """\
from passthru.vfio.stubs.stub import Stub

class Mine(Stub):
    pass
"""


@pytest.mark.parametrize(
    ("vendor", "device", "stub"),
    [
        (0x4348, 0x3253, Mtty),
        (0x5054, 0x444D, DmaEngine),
        (0x1234, 0x11E8, Edu),
        (0x1B36, 0x0002, PciSerial),
        (0x8086, 0x10C9, Igb),
    ],
)
def test_a_device_is_known_by_its_ids(vendor: int, device: int, stub: type[Stub]) -> None:
    assert stub_for(Identity("pci", vendor, device)) is stub
    assert stub_for(Identity("platform", vendor, device)) is None
    assert stub_for(Identity("pci", vendor, device + 1)) is None


def test_no_two_stubs_are_for_one_device() -> None:
    assert len(set(STUBS)) == len(STUBS)
    assert stub_for(Identity("pci")) is None


def test_the_only_stub_of_a_file_needs_no_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(_STUB)
    for reference in (str(file), f"{file}:Mine"):
        assert (from_file(reference).__name__, issubclass(from_file(reference), Stub)) == ("Mine", True)


def test_a_stub_beside_another_is_named(tmp_path: Path) -> None:
    file = tmp_path / "two.py"
    file.write_text(_STUB + "\nclass Other(Mine):\n    pass\n")
    assert from_file(f"{file}:Other").__name__ == "Other"
    with pytest.raises(OwnCodeError) as error:
        from_file(str(file))
    assert str(error.value) == f"{file}: which class of it? write {file}:Mine; stubs in it: Mine, Other"


def test_a_class_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(_STUB)
    with pytest.raises(OwnCodeError) as error:
        from_file(f"{file}:Yours")
    assert str(error.value) == f"{file}: has no class Yours; stubs in it: Mine"


@pytest.mark.parametrize("what", ["class Mine:\n    pass\n", "Mine = 7\n"])
def test_what_is_no_stub(tmp_path: Path, what: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(what)
    with pytest.raises(OwnCodeError) as error:
        from_file(f"{file}:Mine")
    wanted = "write a class derived from passthru.vfio.stubs.stub.Stub"
    assert str(error.value) == f"{file}:1: Mine is no stub; {wanted}"
    with pytest.raises(OwnCodeError) as error:
        from_file(str(file))
    assert str(error.value) == f"{file}: has no stub; {wanted}"


def test_a_mistake_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(_STUB + "\nwrong\n")
    with pytest.raises(OwnCodeError) as error:
        from_file(str(file))
    assert str(error.value) == f"{file}:6: NameError: name 'wrong' is not defined"


def test_what_names_no_file() -> None:
    with pytest.raises(OwnCodeError) as error:
        from_file("mine")
    assert str(error.value) == "mine: names no file with a stub; write FILE.py or FILE.py:CLASS"
