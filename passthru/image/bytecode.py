# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiles Python code for a rig by the very Python that will run it, since bytecode belongs to one version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.image.command import CommandFailed, run
from passthru.image.kbuild.private_root import PrivateRoot, write_script

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.store import Store

_SECONDS = 600.0


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
