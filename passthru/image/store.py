# SPDX-License-Identifier: GPL-2.0-or-later
"""The cache: what was fetched or built once, kept by the digest of what it was made from.

    ROOT/entries/KIND/DIGEST/manifest.json   key, content digest, size; its modification time is the last use
                             files.json      the path, kind and sha256 of everything under tree/
                             tree/           the content itself
    ROOT/aliases/KIND/NAME.json              a moving name ("debian:bookworm/cloud") -> the digest it meant last
    ROOT/scratch/                            half-made entries, each locked by the process that makes it
    ROOT/locks/, ROOT/area/                  locks; private state of those who build (apt's lists)

A hit opens one file and takes a shared lock that never waits: it keeps `passthru cache prune` away for as long as the
process lives. A miss is built in scratch/, hashed, synced and renamed, so that a kill at any moment leaves nothing or
a whole entry. Standard library only: ci/make_venv.py uses it before anything is installed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.events import Note, Tell
from passthru.image.locks import held, try_lock
from passthru.image.tree import listing, remove, sync_filesystem, tree_size
from passthru.image.trouble import cache_trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT = 1
Key = Mapping[str, str | Sequence[str]]
Build = Callable[[Path], Mapping[str, object] | None]
"""Fills an empty directory; what it returns is kept as the manifest's ``facts``."""

_KIND = re.compile(r"[a-z0-9][a-z0-9-]*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One whole thing in the cache: ``path`` is the directory with its content."""

    kind: str
    digest: str
    path: Path
    manifest: Mapping[str, Any] = field(repr=False)

    @property
    def key(self) -> Mapping[str, Any]:
        """What it was made from."""
        return self.manifest["key"]  # type: ignore[no-any-return]

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its builder returned."""
        return self.manifest["facts"]  # type: ignore[no-any-return]

    @property
    def pin(self) -> dict[str, Any]:
        """What a lock file keeps to get exactly this again: kind, digest, content and key; JSON-able."""
        return {"kind": self.kind, "digest": self.digest, "content": self.manifest["content"], "key": dict(self.key)}


def default_root() -> Path:
    """$PASSTHRU_CACHE, else $XDG_CACHE_HOME/passthru, else ~/.cache/passthru."""
    own = os.environ.get("PASSTHRU_CACHE")
    if own:
        return Path(own).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared and Path(shared).is_absolute():  # the XDG base directory specification: relative ones are to be ignored
        return Path(shared) / "passthru"
    try:
        return Path.home() / ".cache" / "passthru"
    except RuntimeError as error:
        raise Unusable("there is no home directory to keep the cache in; set PASSTHRU_CACHE to a directory") from error


def digest_of(kind: str, key: Key) -> str:
    """The address of what is made from ``key``: sha256 over the kind and the key's canonical JSON."""
    return hashlib.sha256(f"{kind}\0{canonical(key)}".encode()).hexdigest()


def canonical(value: object) -> str:
    """JSON that is the same for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


class Store:
    """The cache at ``root`` (default: default_root()). Nothing is made before something is to be kept."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root.absolute() if root else default_root()
        self._held: dict[tuple[str, str], int] = {}
        self.close = weakref.finalize(self, _close_all, self._held)
        """Give up the shared locks of all entries got so far; prune may take them then."""

    # -- getting --------------------------------------------------------------------------------------------------

    def entry(self, kind: str, key: Key, build: Build, tell: Tell, *, what: str = "") -> Entry:
        """The entry made from ``key``: a hit without any wait, else built once, however many processes ask.

        ``what`` names it in messages ("QEMU of sid"). OSErrors of the cache become Unusable; whatever else ``build``
        raises passes through, and nothing of the half-made entry stays.
        """
        found = self.find(kind, key)
        if found:
            return found
        what = what or kind
        digest = digest_of(kind, key)
        with self.trouble(what):
            with self.lock(f"{kind}-{digest}", what, tell):
                found = self.find(kind, key)
                if not found:
                    self.sweep()
                    self._make(kind, digest, key, build)
            found = found or self.by_digest(kind, digest)
        if not found:
            raise Unusable(f"{what} vanished from the cache {self.root} just after it was made; try again")
        return found

    def find(self, kind: str, key: Key) -> Entry | None:
        """The entry made from ``key`` if it is here."""
        return self.by_digest(kind, digest_of(kind, key))

    def by_digest(self, kind: str, digest: str) -> Entry | None:
        """The entry of this address if it is here; it is protected from prune until close()."""
        home = self.home(kind, digest)
        manifest = home / "manifest.json"
        with cache_trouble(self.root, f"cannot read {kind}"):
            try:
                if (kind, digest) in self._held and manifest.exists():
                    fd = None
                else:
                    fd = try_lock(manifest, shared=True)
                    if fd is None:
                        return None
                    self._keep(kind, digest, fd)
                content = json.loads(manifest.read_bytes())
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise Unusable(f"{manifest} is damaged; remove {home} and try again") from error
        with contextlib.suppress(OSError):  # a cache that may only be read tells no last use
            os.utime(manifest)
        return Entry(kind, digest, home / "tree", content)

    def pinned(self, pin: Mapping[str, Any]) -> Entry | None:
        """Exactly what ``Entry.pin`` named, if it is here; Unusable if the same address holds something else."""
        found = self.by_digest(pin["kind"], pin["digest"])
        if found and pin.get("content") not in (None, found.manifest["content"]):
            raise Unusable(
                f"the cache {self.root} holds another content for {pin['kind']} {pin['digest'][:12]} than the lock "
                f"file names; remove {found.path.parent} and bring the right one with `passthru cache import`"
            )
        return found

    def trouble(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Turns OSErrors of this cache into Unusable: one sentence naming ``what`` was to be kept."""
        return cache_trouble(self.root, f"cannot keep {what}")

    # -- moving names ---------------------------------------------------------------------------------------------

    def resolve(self, kind: str, name: str, fetch: Callable[[], Entry], *, update: bool = False) -> Entry:
        """What a moving name meant last; ``fetch`` is asked only if that is not here, or on ``update``."""
        found = None if update else self.aliased(kind, name)
        if found:
            return found
        found = fetch()
        self.set_alias(kind, name, found)
        return found

    def aliased(self, kind: str, name: str) -> Entry | None:
        """The entry that a moving name meant last, if it is still here."""
        with cache_trouble(self.root, f"cannot read what {kind} {name} means"):
            try:
                alias = json.loads(self._alias_path(kind, name).read_bytes())
            except FileNotFoundError:
                return None
            except ValueError:
                return None  # as good as none: it is written anew by the next fetch
        return self.by_digest(alias["kind"], alias["digest"])

    def set_alias(self, kind: str, name: str, entry: Entry) -> None:
        """Let a moving name mean ``entry`` from now on."""
        path = self._alias_path(kind, name)
        record = {"alias": kind, "name": name, "kind": entry.kind, "digest": entry.digest}
        with cache_trouble(self.root, f"cannot keep {name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, canonical(record).encode())

    def aliases(self) -> list[dict[str, str]]:
        """All moving names: alias (their kind), name, kind, digest."""
        found = []
        for path in sorted(self.root.glob("aliases/*/*.json")):
            with contextlib.suppress(ValueError, FileNotFoundError):
                found.append(json.loads(path.read_bytes()))
        return found

    def _alias_path(self, kind: str, name: str) -> Path:
        return self.root / "aliases" / _checked(_KIND, kind) / f"{hashlib.sha256(name.encode()).hexdigest()[:40]}.json"

    # -- making ---------------------------------------------------------------------------------------------------

    def home(self, kind: str, digest: str) -> Path:
        """Where the entry of this address is, or would be."""
        return self.root / "entries" / _checked(_KIND, kind) / _checked(_DIGEST, digest)

    def area(self, name: str) -> Path:
        """A directory for a builder's own lasting state, made if need be; not an entry, so guard it with lock()."""
        with cache_trouble(self.root, f"cannot make room for {name}"):
            path = self.root / "area" / name
            path.mkdir(parents=True, exist_ok=True)
        return path

    @contextlib.contextmanager
    def lock(self, name: str, what: str, tell: Tell) -> Iterator[None]:
        """Hold the lock ``name`` among all processes that use this cache; a wait is told."""
        folder = self.root / "locks"
        with cache_trouble(self.root, f"cannot lock {what}"):
            folder.mkdir(parents=True, exist_ok=True)
            waiting = Note(f"waiting for another process that is busy with {what}")
            guard = held(folder / f"{name}.lock", on_wait=lambda: tell(waiting), what=what)
            guard.__enter__()
        try:
            yield
        finally:
            guard.__exit__(None, None, None)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty directory on the cache's filesystem, gone at the end, swept if this process dies before that."""
        folder = self.root / "scratch"
        with cache_trouble(self.root, "cannot make a temporary directory"):
            folder.mkdir(parents=True, exist_ok=True)
            fd = None
            while fd is None:  # a sweeper may take the new directory before it is locked: then take another
                path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=folder))
                fd = try_lock(path)
        try:
            yield path
        finally:
            remove(path)
            os.close(fd)

    def sweep(self) -> None:
        """Remove what dead processes left half-made."""
        with contextlib.suppress(FileNotFoundError):
            for path in sorted((self.root / "scratch").iterdir()):
                fd = try_lock(path)
                if fd is not None:
                    remove(path)
                    os.close(fd)

    def _make(self, kind: str, digest: str, key: Key, build: Build) -> None:
        home = self.home(kind, digest)
        with self.scratch() as scratch:
            if home.exists() and not (home / "manifest.json").exists():  # somebody meddled by hand: it is no entry
                home.rename(scratch / "damaged")
            tree = scratch / "new" / "tree"
            tree.mkdir(parents=True)
            facts = dict(build(tree) or {})
            self.seal(scratch / "new", kind, digest, key, facts)

    def seal(self, made: Path, kind: str, digest: str, key: Key, facts: Mapping[str, object]) -> None:
        """Describe what was made in ``made``/tree and move it to its place in one step."""
        files = canonical(listing(made / "tree")).encode()
        manifest = {
            "format": FORMAT,
            "kind": kind,
            "digest": digest,
            "key": key,
            "facts": facts,
            "content": hashlib.sha256(files).hexdigest(),
            "size": tree_size(made / "tree"),
            "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        (made / "files.json").write_bytes(files)
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
        sync_filesystem(made)
        home = self.home(kind, digest)
        home.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(home)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return  # another one was quicker: the same key, so the same thing
        sync_directory(home.parent)

    def _keep(self, kind: str, digest: str, fd: int) -> None:
        old = self._held.pop((kind, digest), None)
        if old is not None:
            os.close(old)
        self._held[kind, digest] = fd


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step; readers see the old or the new content."""
    name = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)  # not mkstemp's 0600: users may share a cache
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames in a directory lasting."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text!r} is no name for the cache")
    return text


def _close_all(held_fds: dict[tuple[str, str], int]) -> None:
    while held_fds:
        os.close(held_fds.popitem()[1])
