# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru mdev``: tables, mdevs made and removed, definitions of mdevctl's read and written."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Ended
    from tests.unit.worker.fake_sysfs import Machine

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
OTHER = "0a5be8a0-0000-4000-8000-00000000000a"


def made(machine: Machine) -> dict[str, str]:
    """The mdevs that there are, with their types."""
    directory = machine.sys / "bus/mdev/devices"
    return {mdev.name: (mdev.resolve() / "mdev_type").resolve().name for mdev in directory.iterdir()}


def definition(kind: str = "mtty-2", **attributes: str) -> dict[str, Any]:
    return {"mdev_type": kind, "start": "manual", "attrs": [{name: value} for name, value in attributes.items()]}


def test_one_is_made_listed_exported_and_removed(
    passthru: Callable[..., Ended], on_machine: Machine, untouched: Callable[[], bool]
) -> None:
    assert "there are no mdevs" in passthru("mdev", "list").out
    ended = passthru("mdev", "create", "mtty", "mtty-2", "--uuid", UUID.upper())
    assert (ended.status, ended.out) == (0, f"the mdev {UUID} is made: mtty-2 of mtty\n"), ended
    assert made(on_machine) == {UUID: "mtty-2"}

    header, row = passthru("mdev", "list").out.splitlines()
    assert (header.split(), row.split()) == (["mdev", "parent", "type"], [UUID, "mtty", "mtty-2"])

    types = [line.split()[:4] for line in passthru("mdev", "types").out.splitlines()]
    assert types == [
        ["parent", "type", "left", "made"],
        ["mtty", "mtty-1", "22", "0"],
        ["mtty", "mtty-2", "11", "1"],
    ]

    assert json.loads(passthru("mdev", "export", UUID).out) == definition()
    assert json.loads(passthru("mdev", "export").out) == [{"mtty": [{UUID: definition()}]}]

    assert passthru("mdev", "remove", UUID).out == f"the mdev {UUID} is removed\n"
    assert untouched()


def test_a_new_uuid_is_told(passthru: Callable[..., Ended], on_machine: Machine) -> None:
    ended = passthru("mdev", "create", "mtty", "Single port serial")
    assert ended.status == 0, ended
    (uuid,) = made(on_machine)
    assert uuid in ended.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "warp", "mtty-2"), "there is no parent 'warp' of mdevs on this host; it has mtty"),
        (("create", "mtty", "mtty-3"), "no mdev type 'mtty-3'; its types are mtty-1, mtty-2"),
        (("create", "mtty", "mtty-2", "--uuid", "me"), "'me' is no UUID"),
        (("create", "mtty", "mtty-1", "--uuid", UUID), f"there is an mdev {UUID} on this host already"),
        (("create", "mtty"), "TYPE"),
        (("remove", OTHER), f"there is no mdev {OTHER} on this host; it has {UUID}"),
        (("export", OTHER), f"there is no mdev {OTHER} on this host; it has {UUID}"),
        (("define", "/nonexistent/file"), "/nonexistent/file cannot be read: No such file or directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    passthru: Callable[..., Ended], on_machine: Machine, words: tuple[str, ...], said: str
) -> None:
    passthru("mdev", "create", "mtty", "mtty-2", "--uuid", UUID)
    ended = passthru("mdev", *words)
    assert ended.status == 2, ended
    assert said in ended.err
    assert made(on_machine) == {UUID: "mtty-2"}


def test_one_that_a_guest_has_stays(passthru: Callable[..., Ended], on_machine: Machine) -> None:
    passthru("mdev", "create", "mtty", "mtty-2", "--uuid", UUID)
    group = (on_machine.sys / "bus/mdev/devices" / UUID / "iommu_group").resolve().name
    on_machine.text(f"dev/vfio/{group}", "busy")
    ended = passthru("mdev", "remove", UUID)
    assert ended.status == 2, ended
    assert "is in use by process 4711" in ended.err
    assert made(on_machine) == {UUID: "mtty-2"}


def test_a_file_of_mdevctl_says_parent_uuid_and_attributes(
    passthru: Callable[..., Ended], on_machine: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "mdevctl.d" / "mtty" / UUID
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(definition(assign_domain="0xab")))
    ended = passthru("mdev", "define", str(file))
    assert ended.status == 0, ended
    assert made(on_machine) == {UUID: "mtty-2"}
    assert (on_machine.sys / "bus/mdev/devices" / UUID / "assign_domain").read_text() == "0xab"


def test_a_definition_by_itself_needs_a_parent(
    passthru: Callable[..., Ended], on_machine: Machine, tmp_path: Path
) -> None:
    file = tmp_path / "card.json"
    file.write_text(json.dumps(definition("mtty-1")))
    ended = passthru("mdev", "define", str(file))
    assert ended.status == 2, ended
    assert "does not tell the parent" in ended.err
    assert "--parent" in ended.err
    assert passthru("mdev", "define", str(file), "--parent", "mtty", "--uuid", OTHER).status == 0
    assert made(on_machine) == {OTHER: "mtty-1"}


def test_an_export_is_defined_again(
    passthru: Callable[..., Ended], on_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uuid, kind in ((UUID, "mtty-2"), (OTHER, "mtty-1")):
        passthru("mdev", "create", "mtty", kind, "--uuid", uuid)
    dump = passthru("mdev", "export").out
    for uuid in (UUID, OTHER):
        passthru("mdev", "remove", uuid)
    monkeypatch.setattr(sys, "stdin", io.StringIO(dump))
    ended = passthru("mdev", "define", "-")
    assert ended.status == 0, ended
    assert made(on_machine) == {UUID: "mtty-2", OTHER: "mtty-1"}
    ended = passthru("mdev", "define", "-", "--parent", "mtty")
    assert ended.status == 2, ended


@pytest.mark.parametrize(
    ("last", "status", "said"),
    [
        (definition("mtty-3"), 2, "no mdev type 'mtty-3'"),
        (definition("mtty-1", no_such="1"), 125, "attribute 'no_such'"),
        (definition("mtty-1", **{"../../x": "1"}), 2, "names no attribute"),
    ],
)
def test_all_of_a_file_or_none(
    passthru: Callable[..., Ended],
    untouched: Callable[[], bool],
    tmp_path: Path,
    last: dict[str, Any],
    status: int,
    said: str,
) -> None:
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([{"mtty": [{UUID: definition()}, {OTHER: last}]}]))
    ended = passthru("mdev", "define", str(file))
    assert ended.status == status, ended
    assert said in ended.err
    assert ended.out == ""
    assert untouched()


def test_no_instances_left(passthru: Callable[..., Ended], untouched: Callable[[], bool], tmp_path: Path) -> None:
    uuids = [f"{number:02x}b8f4f2-509f-382f-3c1e-e6bfe0fa1001" for number in range(13)]
    file = tmp_path / "dump.json"
    file.write_text(json.dumps([{"mtty": [{uuid: definition()} for uuid in uuids]}]))
    ended = passthru("mdev", "define", str(file))
    assert ended.status == 2, ended
    assert "has no instances of mtty-2 left" in ended.err
    assert "passthru mdev remove" in ended.err
    assert untouched()


def test_a_machine_without_parents(passthru: Callable[..., Ended], on_machine: Machine) -> None:
    (on_machine.sys / "class/mdev_bus/mtty").unlink()
    for words in (("types",), ("list",)):
        ended = passthru("mdev", *words)
        assert ended.status == 0, ended
    assert "parent of mdevs" in passthru("mdev", "types").out
    assert json.loads(passthru("mdev", "export").out) == []
