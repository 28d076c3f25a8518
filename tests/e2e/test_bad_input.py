# SPDX-License-Identifier: GPL-2.0-or-later
"""Bad input: one clear sentence, the right exit code, no traceback, nothing half-made."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.harness import Command, Ended

MISTAKES: dict[str, tuple[bytes, str]] = {
    "unknown key": (b'[guest]\nkernal = "x"\n[check.a]\nuse = "dmesg"\n', "bad.toml:2: guest.kernal"),
    "wrong type": (b'[guest]\ncpus = "many"\n[check.a]\nuse = "dmesg"\n', "bad.toml:2: guest.cpus"),
    "binary garbage": (bytes(range(256)) * 4, "bad.toml"),
    "unknown check": (b'[check.a]\nuse = "horoscope"\n', "bad.toml:2: check.a.use"),
    "unknown model": (b'[device.d]\nbus = "vfio-user"\nmodel = "warp"\n[check.a]\nuse = "dmesg"\n', "bad.toml:3"),
    "no TOML": (b"[guest\n", "bad.toml:1"),
    "empty": (b"", "bad.toml"),
}


def says(ended: Ended, status: int, *words: str) -> None:
    """One sentence with these words, and no traceback."""
    assert ended.status == status, ended
    told = ended.stdout + ended.stderr
    assert "Traceback" not in told
    for word in words:
        assert word in told


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_scenario_is_told_with_its_place(passthru: Command, tmp_path: Path, mistake: str) -> None:
    content, place = MISTAKES[mistake]
    (tmp_path / "bad.toml").write_bytes(content)
    ended = passthru("run", str(tmp_path / "bad.toml"))
    says(ended, 2, place)
    assert not passthru.runs.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "no-such"), ("no-such", "mtty")),
        (("run", "no/such.toml"), ("no/such.toml",)),
        (("run", "mtty", "--set", "nonsense"), ("--set nonsense", "KEY=VALUE")),
        (("run", "mtty", "--set", "device.mtty0.ports=3"), ("device.mtty0.ports",)),
        (("run", "mtty", "--accel", "warp"), ("guest.accel", "kvm")),
        (("run", "mtty", "--frobnicate"), ("--frobnicate",)),
        (("run",), ("SCENARIO",)),
        (("frobnicate",), ("frobnicate",)),
        (("serve", "warp", "--socket", "/nonexistent/s"), ("warp", "mtty")),
        (("shell", "mtty"), ("terminal",)),
    ],
)
def test_wrong_usage(passthru: Command, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    ended = passthru(*arguments)
    says(ended, 125 if arguments[0] == "shell" else 2, *words)
    assert not passthru.runs.exists()


@pytest.fixture
def none_at_all(tmp_path: Path) -> Path:
    """An executable that is neither a QEMU nor a kernel."""
    path = tmp_path / "none-at-all"
    path.write_text("#!/bin/sh\necho I am none\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("option", ["--qemu", "--kernel"])
def test_a_qemu_or_kernel_that_is_none(passthru: Command, none_at_all: Path, option: str) -> None:
    says(passthru("run", "mtty", option, str(none_at_all)), 125, str(none_at_all))
    says(passthru("run", "mtty", option, str(none_at_all) + "-missing"), 125, "none-at-all-missing")


def test_a_qemu_without_vfio_user(passthru: Command) -> None:
    says(passthru("run", "mtty", "--qemu", "debian:bookworm"), 125, "vfio-user-pci", "7.2")


def test_a_kernel_without_what_the_scenario_needs(passthru: Command) -> None:
    ended = passthru("run", "mtty", "--set", 'guest.kernel_config=["SERIAL_8250_PCI", "NO_SUCH_THING"]')
    says(ended, 125, "CONFIG_NO_SUCH_THING")
    assert "CONFIG_SERIAL_8250_PCI" not in ended.stdout


def test_a_cold_cache_without_network(passthru: Command, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as refused:
        port = refused.getsockname()[1]
    cache = tmp_path / "cache"
    passthru.environment = {
        "PASSTHRU_CACHE": str(cache),
        "PASSTHRU_DEBIAN_MIRROR": f"http://127.0.0.1:{port}/debian",
        "PATH": "/usr/bin:/bin",
    }
    says(passthru("run", "mtty"), 125, "127.0.0.1", "network")
    assert list(cache.glob("entries/*/*")) == []
    assert list(cache.glob("scratch/*")) == []


def test_a_cache_that_cannot_be_written(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    passthru.environment = {"PASSTHRU_CACHE": str(tmp_path / "file" / "cache")}
    says(passthru("run", "mtty"), 125, str(tmp_path / "file"), "PASSTHRU_CACHE")


def test_a_runs_directory_that_cannot_be_written(passthru: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    says(passthru("run", "mtty", "--runs", str(tmp_path / "file")), 125, str(tmp_path / "file"), "--runs")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_a_disk_that_fills_up_during_a_fetch(passthru: Command, mounted: Callable[[str], Path]) -> None:
    cache = mounted("40m")
    passthru.environment = {"PASSTHRU_CACHE": str(cache), "PATH": "/usr/bin:/bin"}
    says(passthru("run", "mtty"), 125, str(cache), "the disk is full")
    assert list(cache.glob("entries/*/*")) == []
    assert list(cache.glob("scratch/*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small filesystem needs root")
def test_a_disk_that_fills_up_during_a_run(passthru: Command, mounted: Callable[[str], Path]) -> None:
    runs = mounted("64k")
    ended = passthru("run", "mtty", "--runs", str(runs))
    says(ended, 125, "No space left")


def test_closed_standard_streams(passthru: Command) -> None:
    shell = f'exec "{sys.executable}" -m passthru run mtty <&- >&- 2>&-'
    env = {**os.environ, "PASSTHRU_RUNS": str(passthru.runs)}
    assert subprocess.run(["sh", "-c", shell], env=env, check=False).returncode == 0
