# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs of a private root, really started: a copy of this machine's shell with its loader and libraries."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from passthru.errors import Unusable
from passthru.image.elf import needs
from passthru.image.kbuild.private_root import PrivateRoot, is_program, write_script

TRIPLE = f"{platform.machine()}-linux-gnu"


@pytest.fixture
def root(tmp_path: Path) -> PrivateRoot:
    """A root with a shell, at a path with a blank and a quote."""
    path = tmp_path / "it's a root"
    libraries = path / "usr/lib" / TRIPLE
    libraries.mkdir(parents=True)
    (path / "usr/bin").mkdir()
    shell = Path("/bin/sh").resolve()
    shutil.copy(shell, path / "usr/bin/sh")
    needed = needs(shell.read_bytes())
    assert needed.loader
    shutil.copy(Path(needed.loader).resolve(), libraries / Path(needed.loader).name)
    for name in needed.libraries:
        found = next(
            Path(place, name) for place in (f"/lib/{TRIPLE}", "/lib64", "/usr/lib") if Path(place, name).exists()
        )
        shutil.copy(found, libraries / name)
    return PrivateRoot(path)


def said(script: Path, *words: str) -> str:
    return subprocess.run([script, *words], check=True, capture_output=True, text=True, timeout=20).stdout


def test_a_program_runs_with_the_root_s_own_libraries(root: PrivateRoot, tmp_path: Path) -> None:
    """Arguments arrive as they are."""
    script = write_script(tmp_path / "bin/sh", root.start(root.path / "usr/bin/sh"))
    assert said(script, "-c", 'echo "<$1>"', "x", "a  'b' $c") == "<a  'b' $c>\n"
    lines = said(script, "-c", "cat /proc/$$/maps").splitlines()
    mapped = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    assert all(path.startswith(str(root.path)) for path in mapped if ".so" in path)
    assert any(path.startswith(str(root.path)) for path in mapped)


def test_the_name_that_a_program_is_told(root: PrivateRoot, tmp_path: Path) -> None:
    """The script's, for those that start others beside it; or its real one, for gcc."""
    program = root.path / "usr/bin/sh"
    ours = write_script(tmp_path / "ours", root.start(program))
    real = write_script(tmp_path / "real", root.start(program, own_name=False))
    assert said(ours, "-c", 'echo "$0"') == f"{ours}\n"
    assert said(real, "-c", 'echo "$0"') == f"{program}\n"


def test_a_root_without_a_loader(tmp_path: Path) -> None:
    """An absolute link to one leads out of the root, and is none."""
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "usr/lib64/ld-linux-x86-64.so.2").symlink_to("/lib64/ld-linux-x86-64.so.2")
    with pytest.raises(Unusable, match="its programs cannot be started"):
        PrivateRoot(tmp_path).start(tmp_path / "program")


def test_what_is_a_program(tmp_path: Path) -> None:
    """Scripts, links and directories need no help."""
    script = write_script(tmp_path / "script", "#!/bin/sh\n")
    (tmp_path / "link").symlink_to("/bin/sh")
    assert [is_program(path) for path in (script, tmp_path / "link", tmp_path, tmp_path / "gone")] == [False] * 4
    assert is_program(Path("/bin/sh").resolve())
