# SPDX-License-Identifier: GPL-2.0-or-later
"""The code that goes into a rig is enough to start what runs there, and no more than that."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from passthru.image.own_package import own_files

if TYPE_CHECKING:
    from pathlib import Path

IMPORT_ALL = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
sys.path[:] = [*(path for path in sys.path if "site-packages" not in path), str(root)]
for path in sorted(root.rglob("*.py")):
    if path.name != "__main__.py":
        importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"))
assert all(module.__file__.startswith(str(root)) for name, module in sys.modules.items() if name.startswith("passthru"))
print("imported")
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files as they lie in a rig."""
    for name, data in own_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_all_can_be_imported_without_anything_else(copy: Path) -> None:
    """By an isolated Python that has its standard library only."""
    argv = [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(copy)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "imported\n"


def test_what_runs_there_is_there() -> None:
    """The worker, device servers with all models, and the package itself."""
    names = own_files().keys()
    assert {"passthru/__init__.py", "passthru/worker/__main__.py", "passthru/emulation/__main__.py"} <= names
    assert any(name.startswith("passthru/emulation/models/") for name in names)


def test_what_does_not_run_there_is_not() -> None:
    """Nothing of the controlling side, though it is imported for type checkers."""
    rooms = {name.split("/")[1] for name in own_files() if name.count("/") > 1}
    assert not rooms & {"cli", "guest", "image", "report", "run", "scenario", "pytest_plugin"}
