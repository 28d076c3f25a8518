# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit status of an interruption, whenever it comes."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CODE = """
import passthru.cli

def interrupted():
    try:
        exec("raise KeyboardInterrupt")  # as a signal does while dataclasses are made
    except KeyboardInterrupt:
        print("told", end="")
        raise SystemExit(130)

passthru.cli._command = interrupted
passthru.cli.main()
"""


def test_an_interruption_while_modules_are_imported_is_130_too(tmp_path: Path) -> None:
    """Not a death by SIGINT, which Python itself makes of it for what ``-m`` runs."""
    (tmp_path / "as_module.py").write_text(CODE)
    command = [sys.executable, "-m", "as_module"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (130, "told"), ended.stderr
