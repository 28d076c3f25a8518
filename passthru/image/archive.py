# SPDX-License-Identifier: GPL-2.0-or-later
"""Carries cache entries from one machine to another in one tar file.

    KIND/DIGEST/manifest.json, files.json, tree/...    for each entry, then the next one
    aliases.json                                       the moving names that mean them

An archive is not trusted: names that lead out, links that are followed, devices, and whatever differs from the digests
are refused, and nothing of an entry is seen before all of it was verified.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from passthru.errors import Unusable, UserMistake
from passthru.events import Note, Progress
from passthru.image.store import FORMAT, canonical, digest_of
from passthru.image.tree import listing, remove, sync_filesystem, tree_size, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.events import Tell
    from passthru.image.store import Entry, Store

_PLACE = re.compile(r"([a-z0-9][a-z0-9-]*)/([0-9a-f]{64})/(manifest\.json|files\.json|tree(?:/.*)?)")


def export(store: Store, entries: Sequence[Entry], path: Path, tell: Tell) -> None:
    """Write ``entries`` and their moving names into one tar file, whole or not at all."""
    chosen = {(entry.kind, entry.digest) for entry in entries}
    total = sum(entry.manifest["size"] for entry in entries)
    work = f"exporting to {path.name}"
    done = 0
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise Unusable(
            f"cannot write {path}: {error.strerror}; name a file in a directory that you may write"
        ) from error
    try:
        with os.fdopen(fd, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for entry in entries:
                    tell(Progress(work, done, total, "bytes"))
                    _add(tar, entry)
                    done += entry.manifest["size"]
                names = [alias for alias in store.aliases() if (alias["kind"], alias["digest"]) in chosen]
                _add_bytes(tar, "aliases.json", canonical(names).encode())
            stream.flush()
            os.fchmod(stream.fileno(), 0o666 & ~_umask())  # mkstemp's file is for its maker alone
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except OSError as error:
        raise Unusable(f"cannot write {path}: {error.strerror}; make room, or name a file elsewhere") from error
    finally:
        Path(name).unlink(missing_ok=True)
    tell(Progress(work, total, total, "bytes", finished=True))


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    home = entry.path.parent
    place = f"{entry.kind}/{entry.digest}"
    for name in ("manifest.json", "files.json"):
        _add_bytes(tar, f"{place}/{name}", (home / name).read_bytes())
    for path, _ in walk(entry.path):
        tar.inodes = {}  # type: ignore[attr-defined]  # no hard links: each member stands for itself
        tar.add(entry.path / path, f"{place}/tree/{path}", recursive=False, filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    with tempfile.TemporaryFile() as stream:
        stream.write(data)
        stream.seek(0)
        member = tarfile.TarInfo(name)
        member.size = len(data)
        member.mode = 0o644
        tar.addfile(member, stream)


def import_archive(store: Store, path: Path, tell: Tell) -> list[Entry]:
    """Bring the entries of a tar file that export() wrote into the cache; what is here already is kept as it is.

    UserMistake: no such file, or none of ours. Unusable: it is damaged or was tampered with, or the cache is full.
    """
    try:
        size = path.stat().st_size
        stream = path.open("rb")
    except OSError as error:
        raise UserMistake(
            f"cannot read {path}: {error.strerror}; name a file that `passthru cache export` wrote"
        ) from error
    with stream, store.trouble(path.name):
        store.sweep()
        with store.scratch() as scratch:
            names = _extract(stream, path, scratch, size, tell)
            brought = [_verified(home, path) for home in sorted(scratch.glob("*/*"))]
            for home, manifest in brought:
                if store.by_digest(manifest["kind"], manifest["digest"]) is None:
                    _settle(store, home, manifest)
            entries = [_known(store, manifest, tell) for _, manifest in brought]
    for alias in names:
        _set_name(store, alias, entries)
    return entries


def _extract(stream: BinaryIO, path: Path, scratch: Path, size: int, tell: Tell) -> list[dict[str, str]]:
    work = f"importing {path.name}"
    names: list[dict[str, str]] = []
    told = 0
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.name == "aliases.json" and member.isreg():
                    content = tar.extractfile(member)
                    found = json.loads(content.read()) if content else []
                    names = found if isinstance(found, list) else []
                    continue
                _extract_member(tar, member, scratch, path)
                if member.offset - told > 1 << 22:
                    told = member.offset
                    tell(Progress(work, told, size, "bytes"))
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise UserMistake(
            f"{path} is damaged or was not written by `passthru cache export`: {error}; export it again"
        ) from error
    if not any(scratch.iterdir()):
        raise UserMistake(f"{path} holds no cache entries; name a file that `passthru cache export` wrote")
    tell(Progress(work, size, size, "bytes", finished=True))
    return names


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path, path: Path) -> None:
    parts = member.name.split("/")
    if not _PLACE.fullmatch(member.name) or ".." in parts or "." in parts or "" in parts:
        raise _refused(path, member, "its name leads elsewhere")
    target = scratch / member.name
    for above in (*target.relative_to(scratch).parents,):
        if (scratch / above).is_symlink():
            raise _refused(path, member, "it is to be written through a link")
    if target.is_symlink() or (target.exists() and not member.isdir()):
        raise _refused(path, member, "it is there twice")
    target.parent.mkdir(parents=True, exist_ok=True)
    if member.isdir():
        target.mkdir(exist_ok=True)
    elif member.issym():
        target.symlink_to(member.linkname)
    elif member.isreg():
        content = tar.extractfile(member)
        assert content
        with target.open("wb") as stream:
            shutil.copyfileobj(content, stream, 1 << 20)
        if target.stat().st_size != member.size:
            raise tarfile.ReadError("it ends too early")
        target.chmod(0o755 if member.mode & 0o100 else 0o644)
    else:
        raise _refused(path, member, "it is neither a file, a directory nor a link")


def _verified(home: Path, path: Path) -> tuple[Path, dict[str, Any]]:
    """The manifest of an extracted entry, after all of it was compared with its digests."""
    kind, digest = home.parent.name, home.name
    try:
        manifest = cast("dict[str, Any]", json.loads((home / "manifest.json").read_bytes()))
        files = (home / "files.json").read_bytes()
        good = (
            manifest["format"] == FORMAT
            and (manifest["kind"], manifest["digest"]) == (kind, digest)
            and digest_of(kind, manifest["key"]) == digest
            and isinstance(manifest["facts"], dict)
            and hashlib.sha256(files).hexdigest() == manifest["content"]
            and canonical(listing(home / "tree")).encode() == files
            and tree_size(home / "tree") == manifest["size"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        good = False
    if not good:
        raise Unusable(
            f"{path}: the entry {kind} {digest[:12]} is not what its digests say; nothing was imported: export it again"
        )
    return home, manifest


def _settle(store: Store, home: Path, manifest: dict[str, Any]) -> None:
    target = store.home(manifest["kind"], manifest["digest"])
    if target.exists():
        remove(target)  # no manifest in it, or by_digest() would have found it
    target.parent.mkdir(parents=True, exist_ok=True)
    sync_filesystem(home)
    home.rename(target)


def _known(store: Store, manifest: dict[str, Any], tell: Tell) -> Entry:
    entry = store.by_digest(manifest["kind"], manifest["digest"])
    if entry is None:
        raise Unusable(f"{manifest['kind']} {manifest['digest'][:12]} vanished while it was imported; try again")
    if entry.manifest["content"] != manifest["content"]:
        tell(
            Note(
                f"{entry.kind} {entry.digest[:12]} was in the cache already with another content, and is kept as it was"
            )
        )
    return entry


def _set_name(store: Store, alias: dict[str, str], entries: Sequence[Entry]) -> None:
    """A name of the archive is taken where this cache has none yet."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        for entry in entries:
            if (entry.kind, entry.digest) == (alias["kind"], alias["digest"]) and not store.aliased(
                alias["alias"], alias["name"]
            ):
                store.set_alias(alias["alias"], alias["name"], entry)


def _refused(path: Path, member: tarfile.TarInfo, why: str) -> Unusable:
    return Unusable(f"{path}: the member {member.name!r} is refused: {why}; nothing was imported")
