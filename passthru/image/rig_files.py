# SPDX-License-Identifier: GPL-2.0-or-later
"""The drive with the files that a run brings into a rig: the guest's kernel and image, and whatever the user names."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.image import block
from passthru.image.tree import file_digest, listing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.store import Entry, Store

_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""


def files_drive(files: Mapping[str, Path], made_by: Entry, store: Store, tell: Tell) -> Entry:
    """The block image of ``files`` (name there -> file or directory here), addressed by their content.

    Links inside a directory stay links, others are followed. Raises UserMistake: a bad name, a file that cannot be
    read; Unusable: one that is no file, directory or link; what block_image() raises.
    """

    def fill(tree: Path) -> None:
        for name, path in files.items():
            if path.is_dir():
                shutil.copytree(path, tree / name, symlinks=True, copy_function=_copy)
            else:
                _copy(path, tree / name)

    key = {"builder": _BUILDER, "files": sorted(files), "content": _content(files)}
    return block.block_image(key, fill, made_by, store, tell, what="the files for the rig")


def _content(files: Mapping[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        if "/" in name or name in ("", ".", ".."):
            raise UserMistake(f"{name!r} is no name for a file in a rig; write one without a slash")
        try:
            for line in _described(path.resolve(strict=True)):
                digest.update(f"{name}\0{line}\0".encode())
        except OSError as error:
            raise UserMistake(
                f"{error.filename or path} cannot be brought into the rig: {error.strerror}; name files that are there "
                "and that you may read"
            ) from error
    return digest.hexdigest()


def _described(path: Path) -> list[str]:
    if path.is_dir():
        return [f"{below}\0{what}" for below, what in sorted(listing(path).items())]
    return [f"{'exec' if path.stat().st_mode & 0o100 else 'file'} {file_digest(path)}"]


def _copy(source: str | Path, target: str | Path) -> None:
    """The content, and whether it is executable; nothing else of it is kept in an image."""
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
