# SPDX-License-Identifier: GPL-2.0-or-later
"""The scratch directory: place, privacy, removal, and the sweep of those that killed workers left."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.worker import scratch as module
from passthru.worker.protocol import RequestError
from passthru.worker.scratch import Scratch, make_scratch, remove_if_stale, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def only_here(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "candidates", lambda: [str(place)])


@pytest.fixture
def scratch() -> Iterator[Scratch]:
    made = make_scratch()
    yield made
    if Path(made.path).exists():
        made.remove()


def test_is_private_and_fits_a_socket(scratch: Scratch, place: Path) -> None:
    assert Path(scratch.path).parent == place
    assert stat.S_IMODE(Path(scratch.path).stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(scratch.socket_path("n" * module.LONGEST_NAME))


def test_remove_takes_everything_and_follows_no_link(scratch: Scratch, place: Path) -> None:
    outside = place / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    inside = Path(scratch.path)
    (inside / "deep" / "deeper").mkdir(parents=True)
    (inside / "deep" / "deeper" / "file").write_text("x")
    (inside / "link").symlink_to(outside)
    (inside / "dangling").symlink_to("nowhere")
    scratch.remove()
    assert not inside.exists()
    assert (outside / "kept").read_text() == "kept"


def test_sweep_removes_the_stale_and_only_those(scratch: Scratch, place: Path) -> None:
    uid = os.getuid()
    killed = place / f"passthru-{uid}-0123456789ab"
    killed.mkdir()
    (killed / ".lock").touch()
    (killed / "mtty0").touch()
    half_made = place / f"passthru-{uid}-ba9876543210"
    half_made.mkdir()
    others = place / f"passthru-{uid + 1}-0123456789ab"
    others.mkdir()
    a_file = place / f"passthru-{uid}-file"
    a_file.touch()
    a_link = place / f"passthru-{uid}-link"
    a_link.symlink_to(others)
    assert sorted(sweep()) == sorted([str(killed), str(half_made)])
    assert not killed.exists()
    assert not half_made.exists()
    assert others.exists()
    assert a_file.exists()
    assert a_link.is_symlink()
    assert Path(scratch.path).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory to another user")
def test_a_directory_of_another_user_is_left_alone(place: Path) -> None:
    """Whatever its name says."""
    foreign = place / f"passthru-{os.getuid()}-0123456789ab"
    foreign.mkdir()
    os.chown(foreign, 12345, 12345)
    assert sweep() == []
    assert foreign.is_dir()


def test_a_living_worker_keeps_its_directory(scratch: Scratch) -> None:
    assert remove_if_stale(scratch.path) is False
    assert Path(scratch.path).exists()


def test_places_that_cannot_be_used_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = place / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(module, "candidates", lambda: [str(long), str(place / "missing"), "/proc"])
    with pytest.raises(RequestError) as caught:
        make_scratch()
    text = str(caught.value)
    assert f"{long}: too long" in text
    assert f"{place / 'missing'}: No such file" in text
    assert "/proc: " in text
    assert "set TMPDIR" in text


def test_the_first_usable_place_is_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = place / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(module, "candidates", lambda: [str(long), str(place)])
    made = make_scratch()
    assert Path(made.path).parent == place
    made.remove()


def test_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TMPDIR", "relative")
    assert module.candidates() == ["/tmp", "/var/tmp"]
    monkeypatch.setenv("TMPDIR", "/somewhere/")
    assert module.candidates() == ["/somewhere", "/tmp", "/var/tmp"]
