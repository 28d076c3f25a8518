# SPDX-License-Identifier: GPL-2.0-or-later
"""What of a QEMU is brought into a rig: one of Debian's, and one of this machine's own, for which echo stands."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.image.block import write_nodes
from passthru.image.elf import NotElf, needs
from passthru.image.qemu_tree import HOME, nodes_of, tree_of
from tests.unit.image import made_rig

if TYPE_CHECKING:
    from passthru.image.store import Store

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="rigs are made on amd64 machines")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A program with firmware and modules around it, as `make install` leaves them."""
    echo = shutil.which("echo")
    assert echo
    files = {
        "lib/qemu/ui-curses.so": Path(echo).read_bytes(),
        "share/qemu/pvh.bin": b"pvh",
        "share/qemu/efi-virtio.rom": b"rom",
        "share/qemu/u-boot.e500": b"not a PC's",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "bin").mkdir()
    shutil.copy(echo, tmp_path / "bin/qemu-system-x86_64")
    shutil.copy(echo, tmp_path / "lib/qemu/accel-tcg-x86_64.so")
    try:
        if needs((tmp_path / "bin/qemu-system-x86_64").read_bytes()).loader is None:
            pytest.skip("echo of this machine is a static program")
    except NotElf:
        pytest.skip("echo of this machine is a script")
    return tmp_path


def test_one_of_this_machine(installed: Path, store: Store, tmp_path: Path) -> None:
    """It runs with the loader and the libraries that were brought, and is told where its data and modules are."""
    program = installed / "bin/qemu-system-x86_64"
    firmware = f"{installed}/share/qemu\n"  # echo prints it, as QEMU does for -L help
    tree = tree_of(made_rig.a_qemu((str(program), firmware)), "amd64", store)
    place = tmp_path / "rig"
    write_nodes(nodes_of(tree), place)
    there = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert {"share/pvh.bin", "share/efi-virtio.rom", "modules/accel-tcg-x86_64.so"} <= there
    assert not there & {"share/u-boot.e500", "modules/ui-curses.so"}
    assert "lib/libc.so.6" in there
    assert tree.qemu.env == {"QEMU_MODULE_DIR": f"{HOME}/modules"}
    argv = [word.replace(HOME, str(place)) for word in tree.qemu.command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True, env={"LD_DEBUG": "files"})
    assert done.stdout == f"{firmware} -L {place}/share\n"
    assert f"calling init: {place}/lib/libc.so.6" in done.stderr


def test_another_build_is_another_tree(installed: Path, store: Store) -> None:
    """Told by what is in its files."""
    program = installed / "bin/qemu-system-x86_64"
    qemu = made_rig.a_qemu((str(program), f"{installed}/share/qemu\n"))
    first = tree_of(qemu, "amd64", store).identity
    (installed / "share/qemu/pvh.bin").touch()
    assert tree_of(qemu, "amd64", store).identity == first
    (installed / "share/qemu/pvh.bin").write_bytes(b"other")
    assert tree_of(qemu, "amd64", store).identity != first


def test_a_script_cannot_be_brought(store: Store, tmp_path: Path) -> None:
    """What to name in its place is told."""
    (tmp_path / "qemu").write_text("#!/bin/sh\nexec something\n")
    with pytest.raises(Unusable, match=r"made is a script or no program of this machine.*as host.qemu"):
        tree_of(made_rig.a_qemu((str(tmp_path / "qemu"),)), "amd64", store)


def test_modules_of_debian_s(store: Store) -> None:
    """Those for acceleration and devices, but none that needs a library which QEMU itself does not."""
    echo = Path(str(shutil.which("echo"))).read_bytes()
    modules = "usr/lib/x86_64-linux-gnu/qemu"
    try:
        needed = needs(echo)
    except NotElf:
        pytest.skip("echo of this machine is a script")
    if needed.loader is None:
        pytest.skip("echo of this machine is a static program")
    libraries = {f"usr/lib/x86_64-linux-gnu/{name}": "a library" for name in needed.libraries}
    program: dict[str, str | bytes] = {"usr/bin/qemu-system-x86_64": echo, needed.loader.lstrip("/"): "the loader"}
    rich = made_rig.debian_qemu(
        store, {**program, **libraries, f"{modules}/accel-qtest.so": echo, f"{modules}/ui-gtk.so": echo}
    )
    found = tree_of(rich, "amd64", store).files
    assert {f"{modules}/accel-qtest.so", *libraries} <= found.keys()
    assert f"{modules}/ui-gtk.so" not in found
    poor = made_rig.debian_qemu(store, {f"{modules}/accel-qtest.so": echo}, version="2")
    assert f"{modules}/accel-qtest.so" not in tree_of(poor, "amd64", store).files
