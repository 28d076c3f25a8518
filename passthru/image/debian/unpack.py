# SPDX-License-Identifier: GPL-2.0-or-later
"""Unpacks .deb files into a private root as an ordinary user.

dpkg-deb reads the archive; the files are written here, because a private root differs from an installed one: owners
are squashed, set-id bits dropped, and /bin, /sbin and /lib* become links into /usr in every suite (bookworm's packages
still ship both, and tar would replace a link by a directory).
"""

from __future__ import annotations

import contextlib
import posixpath
import signal
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING, BinaryIO, cast

from passthru.errors import Unusable

if TYPE_CHECKING:
    from pathlib import Path

_ALIASED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32")
UNPACK_SECONDS = 300.0


def unpack(deb: Path, root: Path) -> None:
    """Write what ``deb`` holds below ``root``; Unusable if it is damaged."""
    argv = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout and child.stderr
        watchdog = threading.Timer(UNPACK_SECONDS, child.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            with tarfile.open(fileobj=cast("BinaryIO", child.stdout), mode="r|") as archive:
                for member in archive:
                    _write(archive, member, root)
            while child.stdout.read(65536):  # the padding behind the archive's end
                pass
            said = child.stderr.read().decode(errors="replace")
        except tarfile.TarError as error:
            child.kill()
            raise Unusable(f"{deb.name} is damaged ({error}); remove {deb} and try again") from error
        except BaseException:
            child.kill()
            raise
        finally:
            watchdog.cancel()
    if child.returncode:
        ended = signal.Signals(-child.returncode).name if child.returncode < 0 else f"status {child.returncode}"
        raise Unusable(f"dpkg-deb cannot unpack {deb.name} ({ended}): {said.strip()}; remove {deb} and try again")


def link_aliases(root: Path) -> None:
    """Make /bin -> usr/bin and its like, as on any merged system."""
    for name in _ALIASED:
        if (root / "usr" / name).is_dir() and not (root / name).exists():
            (root / name).symlink_to(f"usr/{name}")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    name = _inside(member.name)
    if not name:
        return
    path = root / name
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        if name in _ALIASED or (path.is_dir() and not path.is_symlink()):
            return  # base-files' own aliases, or a directory that another package filled
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.symlink_to(member.linkname)
    elif member.islnk():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        path.hardlink_to(root / _inside(member.linkname))
    elif member.isreg():
        content = archive.extractfile(member)
        assert content
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # never through a link of another package
        with path.open("wb") as stream:
            while block := content.read(1 << 20):
                stream.write(block)
        path.chmod(member.mode & 0o755 | 0o644)
    # device nodes and pipes have no place in a private root


def _inside(name: str) -> str:
    """The path below the root: no way out, and /lib as /usr/lib."""
    clean = posixpath.normpath("/" + name).lstrip("/")
    first, _, _ = clean.partition("/")
    return f"usr/{clean}" if (first in _ALIASED and "/" in clean) or clean in _ALIASED else clean
