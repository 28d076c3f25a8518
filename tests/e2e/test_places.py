# SPDX-License-Identifier: GPL-2.0-or-later
"""The main job in other places than the developer's checkout: a container, another user, odd paths and environments."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from passthru.image.store import default_root
from tests.e2e.harness import LONGEST
from tests.e2e.places import CHECKOUT, PARTS, Placed, as_user, install, namespaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.harness import Ended

ODD = 'it\'s a $place, "näme" 空'
LONG = Path("l" * 200) / ("m" * 200)
OTHER = 61234
"""A user without a name here."""


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[Callable[..., Placed]]:
    """Makes commands, with the cache of these tests; nothing of them may be left when the test has ended."""
    commands = []

    def make(*prefix: str, runs: Path = tmp_path / "runs", **environment: str) -> Placed:
        cache = {"PASSTHRU_CACHE": str(default_root())}
        commands.append(Placed(runs, {**cache, **environment}, prefix))
        return commands[-1]

    yield make
    for command in commands:
        assert command.left_running() == []


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that every user may enter: those of pytest are its user's alone."""
    with tempfile.TemporaryDirectory(prefix="places-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        (Path(name) / "tmp").mkdir()
        (Path(name) / "tmp").chmod(0o1777)
        yield Path(name)


@pytest.fixture(scope="module")
def installed(place: Path) -> str:
    """The program ``passthru`` of an environment that the wheel of this checkout was installed into."""
    return str(install(place / "venv"))


@pytest.fixture(scope="module")
def archive(place: Path) -> Path:
    """What the main job needs, out of the cache of these tests, for those who have one of their own."""
    command = Placed(place / "first-runs")
    ended = command("run", "mtty")
    passed(ended)
    lock = json.loads((ended.directory / "lock.json").read_text())
    pins = (lock["qemu"]["root"], lock["kernel"]["root"], lock["image"]["pin"], lock["image"]["packages"])
    file = place / "archive.tar"
    exported = command("cache", "export", str(file), *(pin["digest"] for pin in pins if pin))
    assert exported.status == 0, exported
    return file


def passed(ended: Ended) -> None:
    """The main job ended well, its run directory is whole, and nothing complained."""
    assert ended.status == 0, str(ended)
    assert {finding["verdict"] for finding in ended.findings().values()} == {"passed"}
    for name in ("scenario.json", "lock.json", "qemu.sh", "junit.xml", "ttyS0.log"):
        assert (ended.directory / name).stat().st_size > 0, name
    assert ended.stderr == ""


def accelerator(ended: Ended) -> str:
    """The accelerator that a run used, and why."""
    return str(ended.events("run-ended")[0]["outcome"]["used"]["accelerator"])


@pytest.mark.parametrize("shm", ["64m", "none"])
def test_in_a_container(placed: Callable[..., Placed], tmp_path: Path, shm: str) -> None:
    """No /dev/kvm, no tty, no standard input, no capability, no network, a small /dev/shm or none, as process 1."""
    (tmp_path / "dev").mkdir()
    container = (str(CHECKOUT / "tests/e2e/container.sh"), str(tmp_path / "dev"), shm)
    command = placed(*namespaces("mount", "pid", "net", "ipc"), "sh", *container)
    ended = command("run", "mtty")
    passed(ended)
    assert accelerator(ended) == "TCG (this machine has no /dev/kvm)"


def test_a_wheel_outside_of_the_checkout(placed: Callable[..., Placed], installed: str, tmp_path: Path) -> None:
    """Scenarios and recipes come with the wheel; the environment itself is read-only."""
    read_only = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    environment = str(Path(installed).parents[1])
    command = placed(*namespaces("mount"), "sh", "-c", read_only, environment)
    command.program = (installed,)
    listed = command("list", cwd=tmp_path)
    assert "mtty" in listed.stdout
    assert listed.stdout == placed()("list").stdout
    passed(command("run", "mtty", cwd=tmp_path))


def test_the_commands_that_ci_gives_to_users(placed: Callable[..., Placed], installed: str, tmp_path: Path) -> None:
    """Those of the job in ci/gitlab-ci.yml, in its order; how passthru gets there is the installed wheel's test."""
    script = yaml.safe_load((CHECKOUT / "ci/gitlab-ci.yml").read_text())["assignment"]["script"]
    commands = [line for line in script if line.startswith("passthru ")]
    assert len(commands) == 2
    command = placed("sh", "-e", "-c", "\n".join(commands), PATH=f"{Path(installed).parent}:{os.environ['PATH']}")
    command.program = ()
    passed(command(cwd=tmp_path))
    assert (tmp_path / "junit.xml").stat().st_size > 0


def test_a_read_only_checkout(placed: Callable[..., Placed], tmp_path: Path) -> None:
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && ! touch "$0/mark" && exec "$@"'
    command = placed(*namespaces("mount"), "sh", "-c", script, str(CHECKOUT), "env", f"--chdir={CHECKOUT}")
    ended = command("run", "mtty")
    assert "Read-only file system" in ended.stderr.splitlines()[0]
    assert ended.stderr.count("\n") == 1, str(ended)
    assert ended.status == 0, str(ended)


def test_two_users_at_the_same_time(placed: Callable[..., Placed], installed: str, place: Path, archive: Path) -> None:
    """An ordinary user with a cache of his own beside us; nobody touches what the other left in the same /tmp."""
    stranger = as_user(OTHER)
    home = place / "home"
    home.mkdir()
    os.chown(home, OTHER, OTHER)
    told = {"PASSTHRU_CACHE": "", "XDG_CACHE_HOME": "", "TMPDIR": str(place / "tmp")}
    his = placed(*stranger, runs=home / "runs", HOME=str(home), **told)
    his.program = (installed,)
    ours = placed(runs=place / "runs", TMPDIR=str(place / "tmp"))
    assert his("cache", "import", str(archive), cwd=home).status == 0
    left = {name: leave(place / "tmp" / name, uid) for name, uid in scratches().items()}
    with ours.start("run", "mtty", cwd=place) as our_run, his.start("run", "mtty", cwd=home) as his_run:
        both = ours.ended(our_run), his.ended(his_run)
    for ended in both:
        passed(ended)
    assert (home / ".cache/passthru/entries").is_dir()
    assert {path.name for path in (place / "tmp").iterdir()} == {name for name in left if name.endswith("-alien")}


def scratches() -> dict[str, int]:
    """Scratch directories that killed workers left, and whose they are; two have another's number in their names."""
    us = os.getuid()
    return {
        f"passthru-{us}-left": us,
        f"passthru-{OTHER}-left": OTHER,
        f"passthru-{us}-alien": OTHER,
        f"passthru-{OTHER}-alien": us,
    }


def leave(path: Path, uid: int) -> Path:
    """A scratch directory of that user, with something in it."""
    path.mkdir(mode=0o700)
    (path / "socket").touch()
    for each in (path, path / "socket"):
        os.chown(each, uid, uid)
    return path


def test_odd_letters_in_every_path_and_no_network(placed: Callable[..., Placed], archive: Path, tmp_path: Path) -> None:
    """Blanks, quotes, commas and letters beyond ASCII in the paths of checkout, cache, runs, TMPDIR and HOME.

    The cache was carried here, and nothing can be fetched: what tries KVM out, neither, where a run needed no trial.
    """
    odd = tmp_path / ODD
    for part in PARTS:
        shutil.copytree(CHECKOUT / part, odd / "checkout" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for directory in ("home", "tmp"):
        (odd / directory).mkdir()
    command = placed(
        *namespaces("net"),
        runs=odd / "runs",
        PYTHONPATH=str(odd / "checkout"),
        PASSTHRU_CACHE=str(odd / "cache"),
        HOME=str(odd / "home"),
        TMPDIR=str(odd / "tmp"),
    )
    assert command("cache", "import", str(archive), cwd=odd).status == 0
    ended = command("run", "mtty", "--junit", str(odd / "junit.xml"), cwd=odd)
    passed(ended)
    assert accelerator(ended).startswith("TCG (")
    started = {event["name"]: event["argv"] for event in ended.events("child-started")}
    assert str(odd / "checkout") in started["mtty0"]
    assert started["qemu"][0].startswith(str(odd / "cache"))
    assert (odd / "junit.xml").stat().st_size > 0


def test_very_long_paths(placed: Callable[..., Placed], tmp_path: Path) -> None:
    """UNIX sockets have 107 bytes for theirs, whatever TMPDIR and the like say."""
    long = tmp_path / LONG
    long.mkdir(parents=True)
    passed(placed(runs=long / "runs", TMPDIR=str(long), XDG_RUNTIME_DIR=str(long), HOME=str(long))("run", "mtty"))


ENVIRONMENTS = {
    "LANG=C, umask 077, no HOME": (
        "sh",
        "-c",
        'umask 077 && exec env -u HOME -u XDG_CACHE_HOME -u LC_ALL LANG=C "$@"',
        "sh",
    ),
    "ASCII": ("env", "PYTHONUTF8=0", "PYTHONCOERCECLOCALE=0", "LC_ALL=C"),
}


@pytest.mark.parametrize("prefix", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_odd_environments(placed: Callable[..., Placed], tmp_path: Path, prefix: tuple[str, ...]) -> None:
    """Run directories have a name that is no text in any of these."""
    runs = tmp_path / "r\udcff ü"
    passed(placed(*prefix, runs=runs)("run", "mtty"))


def test_a_user_without_any_home_is_asked_for_one(placed: Callable[..., Placed], installed: str, place: Path) -> None:
    command = placed(*as_user(OTHER), "env", "-u", "HOME", PASSTHRU_CACHE="", XDG_CACHE_HOME="")
    command.program = (installed,)
    ended = command("cache", cwd=place)
    assert ended.status == 125, str(ended)
    assert ended.stderr.startswith("passthru: there is no home directory")
    assert "PASSTHRU_CACHE" in ended.stderr


def test_a_current_directory_that_was_removed(placed: Callable[..., Placed], tmp_path: Path) -> None:
    command = placed("sh", "-c", 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"', str(tmp_path / "gone"))
    passed(command("run", "mtty"))
    ended = command("run", "mtty", "--runs", "runs")
    assert ended.status == 125, str(ended)
    assert ended.stderr == "passthru: the current directory does not exist any more; change to another one\n"


def test_a_colon_in_the_path_of_the_cache(placed: Callable[..., Placed], tmp_path: Path) -> None:
    ended = placed(PASSTHRU_CACHE=str(tmp_path / "a:b"))("run", "mtty")
    assert ended.status == 125, str(ended)
    assert f"{tmp_path}/a:b" in ended.stdout + ended.stderr
    assert "colon" in ended.stdout + ended.stderr
    assert not (tmp_path / "a:b").exists()


def test_a_reader_that_went_away_changes_no_verdict(placed: Callable[..., Placed], tmp_path: Path) -> None:
    """``passthru run mtty --junit FILE | head -1`` and ``passthru list | head -0``."""
    command = placed()
    with command.start("run", "mtty", "--junit", str(tmp_path / "junit.xml"), bufsize=0) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("mtty:")
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait(LONGEST) == 0
    assert (tmp_path / "junit.xml").stat().st_size > 0
    reading, writing = os.pipe()
    os.close(reading)
    with command.start("list", stdout=writing) as process:
        os.close(writing)
        ended = command.ended(process)
    assert (ended.status, ended.stderr) == (141, "")


def test_output_that_finds_no_room(placed: Callable[..., Placed]) -> None:
    with Path("/dev/full").open("w") as full, placed().start("list", stdout=full) as process:
        _, told = process.communicate()
    assert process.returncode == 125
    assert told == "passthru: the disk is full at the output of this command; make room there\n"
