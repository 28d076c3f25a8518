# SPDX-License-Identifier: GPL-2.0-or-later
"""Other places than the developer's checkout: other users, namespaces, an installed wheel.

What the machine does not permit is a skip that names the permission.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from tests.e2e.harness import LONGEST, MARK, Command, Process

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = ("passthru", "guests", "images")
"""What of a checkout a run needs."""


@dataclass
class Placed(Command):
    """The command, started by ``prefix`` (setpriv, unshare, sh -c ...) and by a Python of its own."""

    prefix: tuple[str, ...] = ()
    program: tuple[str, ...] = (sys.executable, "-m", "passthru")

    def start(self, *arguments: str, **options: Any) -> Process:
        """Start it; standard output and error are pipes."""
        env = {**os.environ, MARK: self.mark, "PASSTHRU_RUNS": str(self.runs), **self.environment}
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        words = [*self.prefix, *self.program, *arguments]
        return Process(words, env=env, encoding="utf-8", errors="surrogateescape", **given)


def namespaces(*kinds: str) -> tuple[str, ...]:
    """The words that start a command in new namespaces (mount, net, pid ...), a user's own where we are not root."""
    words = ("unshare", *(() if os.geteuid() == 0 else ("--user", "--map-root-user")))
    words += tuple(f"--{kind}" for kind in kinds)
    if "pid" in kinds:
        words += ("--fork", "--kill-child")
    _tried(words, f"new namespaces ({', '.join(kinds)})")
    return words


def as_user(uid: int) -> tuple[str, ...]:
    """The words that start a command as another user, who has no name, no group of ours and no privilege."""
    words = ("setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "--inh-caps", "-all")
    _tried(words, f"processes of user {uid}")
    return (*_python_in_reach(), *words)


def _python_in_reach() -> tuple[str, ...]:
    """The words that start a command where everybody can enter the directories above this Python.

    It may stand in a home that is its user's alone: a mount namespace shows an empty directory there, with nothing but
    the Python in it.
    """
    python = Path(sys.base_prefix)
    closed = next((path for path in reversed(python.parents) if not path.stat().st_mode & 0o001), None)
    if closed is None:
        return ()
    steps = (
        'exec 3<"$0"',
        'mount -t tmpfs -o mode=755 none "$1"',
        'mkdir -p "$0"',
        'mount -c --bind /proc/self/fd/3 "$0"',
        "exec 3<&-",
        "shift",
        'exec "$@"',
    )
    return (*namespaces("mount"), "sh", "-c", " && ".join(steps), str(python), str(closed))


def _tried(words: Sequence[str], what: str) -> None:
    if shutil.which(words[0]) is None:
        pytest.skip(f"{what} take the program {words[0]} (util-linux), which is missing")
    done = subprocess.run([*words, "true"], capture_output=True, text=True, timeout=LONGEST, check=False)
    if done.returncode != 0:
        pytest.skip(f"{what} are not permitted here: {done.stderr.strip()}")


def install(venv_directory: Path) -> Path:
    """Build the wheel of this checkout and install it into a new environment, without network; returns its program.

    Its dependencies are copied from the environment of these tests, as pip would unpack them.
    """
    wheels = venv_directory.with_name("wheels")
    quietly(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels))
    (wheel,) = wheels.glob("*.whl")
    venv.EnvBuilder(symlinks=True, with_pip=False).create(venv_directory)
    python = str(venv_directory / "bin/python")
    quietly(sys.executable, "-m", "pip", "--python", python, "install", "--no-index", "--no-deps", str(wheel))
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(venv_directory)}))
    for package in dependencies("passthru"):
        for file in package.files or ():
            if ".." not in file.parts:  # its scripts, which stand elsewhere
                target = packages / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    return venv_directory / "bin/passthru"


def dependencies(name: str, seen: set[str] | None = None) -> list[Distribution]:
    """All that the package ``name`` needs, but for those ``seen``, as they are installed here."""
    seen = set() if seen is None else seen
    found = []
    for text in distribution(name).requires or ():
        wanted = Requirement(text)
        if wanted.name.lower() in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name.lower())
        try:
            found += [distribution(wanted.name), *dependencies(wanted.name, seen)]
        except PackageNotFoundError as error:
            raise AssertionError(f"{name} needs {text}, which is not installed; make venv") from error
    return found


def quietly(*words: str) -> None:
    """Run a command of the test itself in the checkout; it must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
