# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting a module of passthru in a Python process of its own, quickly, wherever passthru was installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import passthru
from passthru.errors import Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence

# -I: nothing of the user's environment and current directory. -S: no site module, which takes a third of the whole
# start-up; what is needed of it is one directory, appended here so that it never hides the standard library.
_BOOT = "import sys;sys.path.append(sys.argv.pop(1));from {module}.__main__ import main;sys.exit(main())"


def lean_command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs ``main()`` of ``module``'s ``__main__``, which uses nothing but passthru and the standard
    library.

    passthru is found where this process found it: a checkout, an editable install, site-packages or a zip file.
    Raises Unusable when this interpreter does not know its own path.
    """
    if not sys.executable:
        raise Unusable("this Python does not know where its own program is; start passthru by an absolute path")
    # These may have been asked for by environment variables, which -I ignores.
    cache = ("-B",) if sys.dont_write_bytecode else ()
    prefix = ("-X", f"pycache_prefix={sys.pycache_prefix}") if sys.pycache_prefix else ()
    encoding = ("-X", "utf8") if sys.flags.utf8_mode else ()
    root = str(Path(passthru.__path__[0]).absolute().parent)
    return run_module((sys.executable, *cache, *prefix, *encoding), root, module, *arguments)


def run_module(python: Sequence[str], root: str, module: str, *arguments: str) -> tuple[str, ...]:
    """The command by which ``python`` (a program and its options) runs a module of the passthru in ``root``."""
    return (*python, "-I", "-S", "-c", _BOOT.format(module=module), root, *arguments)
