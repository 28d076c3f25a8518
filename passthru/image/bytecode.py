# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles Python code for a rig by the Python that will run it, or its twin for this machine.

Bytecode belongs to one version of Python (3.11), and is the same on all architectures of 64 bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.image.arch import machine_arch
from passthru.image.command import CommandFailed, run
from passthru.image.debian import packages_root, pins_of
from passthru.image.kbuild.private_root import PrivateRoot, write_script

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.store import Entry, Store

_SECONDS = 600.0


def compiler_of(
    packages: Entry,
    suite: str,
    asked: Sequence[str],
    arch: str,
    store: Store,
    tell: Tell,
    *,
    pin: Mapping[str, Any] | None = None,
    update: bool = False,
) -> Entry:
    """The root whose Python compiles for a rig of the root ``packages``: that itself, or the same one for this machine.

    ``asked`` are the packages of ``suite`` in that root, ``arch`` is its architecture. ``pin`` (of a lock file) names
    the one to take. Raises Unusable: the two have different Pythons; what debian.packages_root() raises.
    """
    here = machine_arch()
    if arch == here:
        return packages
    found = store.pinned(pin) if pin else None
    twin = found or packages_root(
        suite, asked, here, store, tell, pins=pins_of(pin) if pin else None, what="Python of Debian", update=update
    )
    if _versions(twin) != _versions(packages):
        raise Unusable(
            f"the rig's Python of Debian {suite} is {' and '.join(_versions(packages)) or 'missing'} for {arch}, and "
            f"{' and '.join(_versions(twin)) or 'missing'} for {here}, so its bytecode cannot be made here; bring both "
            "up to date with `passthru fetch --update`"
        )
    return twin


def _versions(root: Entry) -> list[str]:
    return sorted(path.name for path in (root.path / "usr/lib").glob("python3.*"))


def compile_tree(tree: Path, place: str, python: Path, store: Store) -> None:
    """Write bytecode beside all modules below ``tree``/``place``; in the rig they will be at /``place``.

    ``python`` is an unpacked root that holds a Python for this machine. The bytecode is taken as it is, without a look
    at the source's time and size: in an image neither changes. Raises Unusable.
    """
    with store.scratch() as scratch:
        program = PrivateRoot(python).start(python / "usr/bin/python3")
        script = write_script(scratch / "python3", program)
        words = ["-B", "-S", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
        try:
            run(
                [script, *words, "-s", tree, "-p", "/", tree / place],
                seconds=_SECONDS,
                env={"PYTHONHOME": str(python / "usr"), "PYTHONHASHSEED": "0", "PYTHONPATH": ""},
            )
        except CommandFailed as failed:
            raise Unusable(
                f"the Python code of a rig cannot be compiled: {failed.last_words!r}; remove {python.parent} so that "
                "its Python is fetched anew"
            ) from failed
