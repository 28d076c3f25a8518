# SPDX-License-Identifier: GPL-2.0-or-later
"""A rig's device tree: QEMU's dump and fragments, put together once. QEMU and dtc are scripts here."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.image.arch import machine_arch
from passthru.image.command import CommandFailed
from passthru.qemu.accelerator import tcg
from passthru.qemu.argv import Vm
from passthru.qemu.device_tree import _why_not, device_tree
from passthru.qemu.fragments import LABELS, Fragment
from tests.unit.image.made_rig import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.events import Event
    from passthru.image.store import Store
    from passthru.qemu.binary import Qemu

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the made root's loader is an amd64 one's")

QEMU = f"""#!{sys.executable}
import os, pathlib, sys
with open(os.environ["STARTS"], "a") as starts:
    starts.write(" ".join(sys.argv[1:]) + chr(10))
machine = sys.argv[sys.argv.index("-machine") + 1]
if "refused" in machine:
    sys.exit("qemu: no such machine")
if "silent" not in machine:
    pathlib.Path(machine.partition("dumpdtb=")[2].partition(",")[0]).write_text("/* dumped */ " + machine)
"""
# It takes a source as it is, and refuses one with the word WRONG as dtc does.
DTC = f"""#!{sys.executable}
import pathlib, sys
text = pathlib.Path(sys.argv[-1]).read_text()
if "WRONG" in text:
    sys.exit("Error: fragment-1:2.3-4 syntax error" + chr(10) + "FATAL ERROR: Unable to parse input tree")
pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_text(text)
"""
VM = Vm(Path("/k"), Path("/i"), "", machine="virt,gic-version=3", memory_mib=512, cpus=2, arch="aarch64")


class Made:
    """What is asked of QEMU, and the trees that come of it."""

    def __init__(self, qemu: Qemu, store: Store, starts: Path, told: list[Event]) -> None:
        self.qemu, self.store, self.starts, self.told = qemu, store, starts, told

    def tree(self, *fragments: Fragment, vm: Vm = VM, qemu: Qemu | None = None) -> str:
        """The text that a tree is made of here."""
        path = device_tree(qemu or self.qemu, tcg(arch="aarch64"), vm, fragments, self.store, self.told.append)
        return path.read_text()

    @property
    def asked(self) -> Sequence[str]:
        """The arguments of each start of QEMU."""
        return self.starts.read_text().splitlines() if self.starts.exists() else []


@pytest.fixture
def made(qemu: Qemu, store: Store, script: Callable[[str, str], Path], tmp_path: Path, told: list[Event]) -> Made:
    packages: dict[str, str | bytes] = {"usr/bin/dtc": DTC}
    entry(store, "device-tree-compiler=1", f"bookworm {machine_arch()} device-tree-compiler", packages)
    starts = tmp_path / "starts"
    program = script("qemu-system-aarch64", QEMU)
    return Made(replace(qemu, command=(str(program),), env={"STARTS": str(starts)}), store, starts, told)


def test_it_is_qemus_own_tree_and_the_fragments(made: Made, tmp_path: Path) -> None:
    own = tmp_path / "own.dtsi"
    own.write_text("/ { own; };\n")
    text = made.tree(Fragment("rtc"), Fragment(str(own)))
    dumped, *added = text.split('\n# 1 "fragment-')
    assert dumped == "/* dumped */ virt,gic-version=3,dumpdtb=qemu.dtb"
    assert added == [
        f'0"\n{Fragment(LABELS).text()}\n',
        f'1"\n{Fragment("rtc").text()}\n',
        '2"\n/ { own; };\n\n',
    ]


def test_qemu_is_asked_for_the_same_machine(made: Made) -> None:
    made.tree(vm=replace(VM, serials=("line",), ram="{socket:ram}"))
    (words,) = made.asked
    assert (
        "-machine virt,gic-version=3,dumpdtb=qemu.dtb -smp 2 -m 512M -accel tcg,thread=multi -cpu neoverse-n1" in words
    )
    assert words.endswith("-serial null -serial null")
    assert "memory-backend" not in words


def test_it_is_made_once_for_the_same_machine_and_fragments(made: Made) -> None:
    trees = [made.tree(Fragment("rtc")) for _ in range(2)]
    assert trees[0] == trees[1]
    assert len(made.asked) == 1
    made.tree(Fragment("rtc"), vm=replace(VM, kernel=Path("/other"), cmdline="quiet"))
    assert len(made.asked) == 1
    for changed in (
        {"vm": replace(VM, cpus=3)},
        {"vm": replace(VM, memory_mib=1024)},
        {"vm": replace(VM, machine="virt")},
        {"vm": replace(VM, serials=("line",))},
        {"qemu": replace(made.qemu, identity="another")},
    ):
        before = len(made.asked)
        made.tree(Fragment("rtc"), **changed)
        assert len(made.asked) == before + 1, changed
    made.tree(Fragment("rtc-platform"))
    assert len(made.asked) == 7


def test_values_stand_for_words(tmp_path: Path) -> None:
    path = tmp_path / "a.dtsi"
    path.write_text("a = <$spi $other>;")
    assert Fragment(str(path), {"spi": "3", "other": "4"}).text() == "a = <3 4>;"
    assert Fragment(str(path)).text() == "a = <$spi $other>;"


def test_a_fragment_that_is_not_there_is_the_users_mistake(made: Made, tmp_path: Path) -> None:
    (tmp_path / "binary.dtsi").write_bytes(b"\xff\xfe\x80")
    for name, why in (("missing.dtsi", "No such file or directory"), ("binary.dtsi", "it is no text")):
        with pytest.raises(UserMistake, match=f"{name} cannot be read: {why}; name another one"):
            made.tree(Fragment(str(tmp_path / name)))
    assert made.asked == []


def test_what_is_wrong_in_a_fragment_is_told_with_its_line(made: Made, tmp_path: Path) -> None:
    path = tmp_path / "own.dtsi"
    path.write_text("/ {\n  WRONG;\n};\n")
    with pytest.raises(UserMistake) as caught:
        made.tree(Fragment(str(path)))
    assert str(caught.value) == (
        f"{path}:2 cannot become a part of the rig's device tree: dtc says 'syntax error'; correct it"
    )
    path.write_text("/ { };\n")
    made.tree(Fragment(str(path)))


# As dtc 1.6.1 says it.
@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ("Error: fragment-1:3.1-11 Label or path /nope@1 not found\nFATAL ERROR: Syntax error parsing input tree",
         Unusable, "rtc.dtsi:3 names /nope@1, and the device tree of QEMU 11.1.3 (/opt/qemu) has no such node for"),
        ("Error: fragment-2:1.1-9 Label or path nolabel not found", Unusable, "/own.dtsi:1 names nolabel, and"),
        ('fragment-1:4.7-27: ERROR (phandle_references): /x: Reference to non-existent node or label "iommu"\n\nE: ',
         Unusable, "rtc.dtsi:4 names iommu, and the device tree of QEMU"),
        ("fragment-2:9.9-19: ERROR (duplicate_property_names): /x:reg: Duplicate property name",
         UserMistake, "/own.dtsi:9 cannot become a part of the rig's device tree: dtc says '/x:reg: Duplicate"),
        ("fragment-1:9.9-19: ERROR (duplicate_property_names): /x:reg: Duplicate property name",
         Unusable, "rtc.dtsi:9 cannot become a part of the rig's device tree: dtc says '/x:reg: Duplicate property"),
        ("Killed", Unusable, "rig's device tree cannot be made of that of QEMU 11.1.3 (/opt/qemu): dtc says 'Killed'"),
    ],
)  # fmt: skip
def test_what_dtc_says_is_told_in_words(qemu: Qemu, said: str, kind: type[Exception], told: str) -> None:
    fragments = [Fragment(LABELS), Fragment("rtc"), Fragment("/own.dtsi")]
    error = _why_not(CommandFailed(["dtc"], 1, said), fragments, qemu)
    assert type(error) is kind
    assert told in str(error)


def test_a_qemu_that_tells_no_tree(made: Made) -> None:
    with pytest.raises(Unusable, match="does not tell the device tree of its machine refused: qemu: no such machine"):
        made.tree(vm=replace(VM, machine="refused"))
    with pytest.raises(Unusable, match="has no device tree for its machine silent"):
        made.tree(vm=replace(VM, machine="silent"))
