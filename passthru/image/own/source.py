# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpacks as much of the kernel's source as its configuration can need: a third of it, since time goes by files."""

from __future__ import annotations

import lzma
import re
import shutil
import tarfile
from typing import TYPE_CHECKING, BinaryIO, cast

from passthru.errors import Unusable
from passthru.events import Progress
from passthru.image.watched import watched

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.own.recipe import OwnRecipe

_DESCRIBES = re.compile(r"(Kconfig|Makefile|Kbuild)[^/]*")
"""Files that kconfig and make read of every directory, whatever is built there."""


def unpack(archive: Path, recipe: OwnRecipe, to: Path, tell: Tell, work: str) -> None:
    """Write what is wanted of ``archive`` (linux-source-X.Y.tar.xz) below ``to``; Unusable if it is damaged."""
    total = archive.stat().st_size
    try:
        with archive.open("rb") as raw, tarfile.open(fileobj=watched(raw, total, tell, work), mode="r|xz") as packed:
            for member in packed:
                path = member.name.partition("/")[2]
                if path and ".." not in path.split("/") and wanted(path, recipe):
                    _write(packed, member, to / path)
    except (tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise Unusable(f"{archive.name} is damaged ({error}); remove {archive} and try again") from error
    tell(Progress(work, total, total, "bytes", finished=True))


def wanted(path: str, recipe: OwnRecipe) -> bool:
    """Whether a file of the source, by its path below the source's root, is unpacked."""
    if _DESCRIBES.fullmatch(path.rpartition("/")[2]) or _below(path, recipe.kept):
        return True
    return not _below(path, recipe.without)


def _below(path: str, folders: tuple[str, ...]) -> bool:
    return any(path.startswith(f"{folder}/") for folder in folders)


def _write(packed: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    if member.isdir():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
    elif member.isfile():
        with place.open("wb") as stream:
            shutil.copyfileobj(cast("BinaryIO", packed.extractfile(member)), stream)
        if member.mode & 0o100:
            place.chmod(0o755)
