# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes the virtual environment `.venv` of this checkout, and nothing if it is there and up to date.

    python3 ci/make_venv.py [--directory DIR] [--python PYTHON]

Debian splits venv's bootstrap and pip off Python; where they are missing, pip comes from Debian's python3-pip-whl
through passthru.image.debian, which therefore needs the standard library only. Two at once wait for each other; what an
interrupted one left is repaired. Exit status: 0, or 125 with one sentence.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036  before anything that an older one could not read
    sys.stderr.write(
        "make venv: passthru needs Python 3.11 or later, and {} is {}.{}; install python3.11, or name another one: "
        "make PYTHON=/path/to/python3\n".format(sys.executable, *sys.version_info[:2])
    )
    sys.exit(125)

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import venv
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from passthru.errors import PassthruError, Unusable  # noqa: E402  they are found once the path is set
from passthru.events import Event, Note, Progress  # noqa: E402
from passthru.image.debian import packages_root  # noqa: E402
from passthru.image.store import Store  # noqa: E402

_STAMP = "passthru-stamp"
_UNFINISHED = "passthru-unfinished"
_SECONDS = 1800.0
_PIP_SUITES = ("bookworm", "trixie", "sid")  # bookworm's pip, or what has followed it when that is gone
_INPUTS = ("pyproject.toml", "ci/make_venv.py")


def main() -> int:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description="make passthru's virtual environment")
    parser.add_argument("--directory", type=Path, default=CHECKOUT / ".venv", help="where (default: .venv)")
    directory: Path = parser.parse_args().directory.absolute()
    try:
        make(directory)
    except PassthruError as error:
        print(f"make venv: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"make venv: {error.filename or directory}: {error.strerror}; make room or permit it", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        print("make venv: interrupted; the next run repairs what is half-made", file=sys.stderr)
        return 130
    return 0


def make(directory: Path) -> None:
    """Bring ``directory`` up to date, one process at a time."""
    if is_current(directory):
        return
    held = os.open(directory.parent, os.O_RDONLY)  # the lock is on the directory above: no file is left
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is making {directory}: waiting for it")
            fcntl.flock(held, fcntl.LOCK_EX)  # it ends by itself: all that it runs has a deadline
        if not is_current(directory):
            build(directory)
    finally:
        os.close(held)


def is_current(directory: Path) -> bool:
    """Whether the last run ended well, for the same inputs and a Python that still is there."""
    try:
        whole = (directory / "bin/python").exists() and not (directory / _UNFINISHED).exists()
        return whole and (directory / _STAMP).read_text() == stamp(directory)
    except OSError:
        return False


def stamp(directory: Path) -> str:
    """What the environment was made from, and where: an environment does not survive being moved."""
    digest = hashlib.sha256()
    for name in _INPUTS:
        digest.update((CHECKOUT / name).read_bytes())
    return f"{digest.hexdigest()} {CHECKOUT} {directory}\n"


def build(directory: Path) -> None:
    """Make the environment; a whole one is kept and its packages updated, one that was interrupted is made anew."""
    (directory / _STAMP).unlink(missing_ok=True)
    python = directory / "bin/python"
    unfinished = directory / _UNFINISHED
    if unfinished.exists() or not works(python):
        say(f"making the virtual environment {directory}")
        if directory.exists():
            shutil.rmtree(directory)
        venv.EnvBuilder(symlinks=True, with_pip=False).create(directory)
    unfinished.touch()
    pip = pip_command(python)
    say("installing passthru and its development tools")
    quiet = [] if os.environ.get("CI") else ["-qq"]
    run(
        [*pip, "install", *quiet, "--disable-pip-version-check", "--editable", f"{CHECKOUT}[dev]"],
        "the packages of pyproject.toml cannot be installed; check the network (pip's own settings hold here)",
    )
    # What is imported at each start is compiled now, and not at the first run, which may not even be allowed to write.
    run([str(python), "-m", "compileall", "-q", str(CHECKOUT / "passthru")], "passthru cannot be compiled")
    (directory / _STAMP).write_text(stamp(directory))
    unfinished.unlink()


def pip_command(python: Path) -> list[str]:
    """How to call a pip for that environment: its own, ensurepip's, or the one of Debian's python3-pip-whl."""
    own = [str(python), "-m", "pip"]
    if succeeds([*own, "--version"]):
        return own
    if succeeds([str(python), "-c", "import ensurepip; ensurepip._get_packages()"]) and succeeds(
        [str(python), "-m", "ensurepip"]
    ):
        return own
    wheel = next((Path("/usr/share/python-wheels").glob("pip-*.whl")), None) or fetched_pip()
    with_wheel = [str(python), f"{wheel}/pip"]  # pip runs from its own wheel, and then installs itself by it
    run([*with_wheel, "install", "--quiet", "--no-index", "--disable-pip-version-check", str(wheel)], "pip is unusable")
    return own


def fetched_pip() -> Path:
    """The pip wheel of Debian's python3-pip-whl."""
    store = Store()
    reasons: list[str] = []
    for suite in _PIP_SUITES:
        try:
            # Of architecture "all": any list of packages has it.
            root = packages_root(suite, ["python3-pip-whl"], "amd64", store, tell, closure=False, what="pip")
        except Unusable as error:
            reasons.append(str(error))
            continue
        wheel = next(root.path.glob("usr/share/python-wheels/pip-*.whl"), None)
        if wheel:
            return wheel
    raise Unusable(
        f"this Python has no pip, and none could be fetched ({reasons[0] if reasons else 'no wheel was found'}); "
        "install python3-venv or python3-pip"
    )


def works(python: Path) -> bool:
    """Whether an environment's Python starts and is one that passthru can use."""
    return succeeds(
        [str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)"]
    )


def succeeds(argv: list[str]) -> bool:
    """Whether a command ends well."""
    try:
        done = subprocess.run(
            dying_with_us(argv), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def run(argv: list[str], sentence: str) -> None:
    """Run a command in sight; Unusable if it fails or lasts."""
    try:
        subprocess.run(dying_with_us(argv), stdin=subprocess.DEVNULL, timeout=_SECONDS, check=True)
    except subprocess.SubprocessError as error:
        raise Unusable(sentence) from error


def dying_with_us(argv: list[str]) -> list[str]:
    """A pip that outlived us would write into what the next run makes anew."""
    guard = shutil.which("setpriv")
    return [guard, "--pdeathsig", "KILL", *argv] if guard else argv


def say(text: str) -> None:
    """Tell a person what happens."""
    print(f"make venv: {text}", file=sys.stderr, flush=True)


def tell(event: Event) -> None:
    """Show what matters of fetching one small package."""
    if isinstance(event, Note):
        say(event.text)
    elif isinstance(event, Progress) and event.finished:
        say(event.work)


if __name__ == "__main__":
    sys.exit(main())
