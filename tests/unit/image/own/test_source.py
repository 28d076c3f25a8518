# SPDX-License-Identifier: GPL-2.0-or-later
"""What is unpacked of the kernel's source."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import Progress, tell_nobody
from passthru.image.own.recipe import load
from passthru.image.own.source import unpack, wanted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.unit.image.conftest import Told

RECIPE = replace(load("amd64"), without=("arch", "drivers/gpu"), kept=("arch/x86",))


def archive(path: Path, files: Mapping[str, str]) -> Path:
    """A packed source; a content that begins with "-> " is a link, with "#!" a program."""
    with tarfile.open(path, "w:xz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"linux-source-9.9/{name}")
            member.mode = 0o755 if content.startswith("#!") else 0o644
            if content.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, content.removeprefix("-> ")
                packed.addfile(member)
                continue
            data = content.encode()
            member.size = len(data)
            packed.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(
    ("path", "is_wanted"),
    [
        ("kernel/fork.c", True),
        ("arch/Kconfig", True),
        ("arch/arm64/Kconfig.platforms", True),
        ("arch/arm64/boot/Makefile", True),
        ("arch/arm64/kernel/head.S", False),
        ("arch/x86/kernel/head_64.S", True),
        ("drivers/gpu/drm/drm_drv.c", False),
        ("drivers/gpu/drm/Kconfig.debug", True),
        ("drivers/gpuish/x.c", True),
    ],
)
def test_what_is_wanted(path: str, is_wanted: bool) -> None:
    """What kconfig and make read anywhere; of the rest what is not left out."""
    assert wanted(path, RECIPE) is is_wanted


def test_unpacking(tmp_path: Path, told: Told) -> None:
    """Programs stay programs and links links; nothing gets out of its place; it is told how far it is."""
    files = {"Makefile": "all:\n", "scripts/x.sh": "#!/bin/sh\n", "drivers/gpu/x.c": "", "link": "-> Makefile"}
    path = archive(tmp_path / "source.tar.xz", {**files, "../../out": "x", "arch/x86/a.c": "a"})
    unpack(path, RECIPE, tmp_path / "linux", told, "unpacking")
    found = {str(item.relative_to(tmp_path / "linux")) for item in (tmp_path / "linux").rglob("*") if not item.is_dir()}
    assert found == {"Makefile", "scripts/x.sh", "link", "arch/x86/a.c"}
    assert (tmp_path / "linux/scripts/x.sh").stat().st_mode & 0o111
    assert (tmp_path / "linux/link").readlink().name == "Makefile"
    assert isinstance(told[-1], Progress) and told[-1].finished


@pytest.mark.parametrize(("begin", "end"), [(10, None), (200, 260)])
def test_a_damaged_source(tmp_path: Path, begin: int, end: int | None) -> None:
    """What is damaged, and what to do: cut off, or with other bytes within."""
    path = archive(tmp_path / "source.tar.xz", {f"kernel/{number}.c": "x" * 999 for number in range(99)})
    data = path.read_bytes()
    path.write_bytes(data[:begin] + (bytes(end - begin) + data[end:] if end else b""))
    with pytest.raises(Unusable, match=r"source\.tar\.xz is damaged .*; remove "):
        unpack(path, RECIPE, tmp_path / "linux", tell_nobody, "unpacking")
