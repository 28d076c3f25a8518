# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic over serial ports: what is sent, and the guest's script, run for real over a pseudo-terminal that echoes."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import threading
import tty
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.check import bundle
from passthru.check.serial_traffic import PortTraffic, Traffic, complaints, parse, script, sent, tty_patterns

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    "traffic", [Traffic(15, 18), Traffic(1, 257), Traffic(16, 17), Traffic(300, 1), Traffic(65, 4)]
)
def test_the_bursts_of_each_port_hold_all_values(traffic: Traffic) -> None:
    assert len(set(b"".join(sent(traffic, burst) for burst in range(traffic.bursts)))) == 256


def test_what_is_easily_swallowed_comes_first() -> None:
    first = sent(Traffic(15, 1), 0)
    assert set(first) >= {0x00, 0xFF, 0x11, 0x13, 0x0D, 0x0A, 0x03, 0x04, 0x7F}


def test_no_two_bursts_are_alike() -> None:
    traffic = Traffic(15, 18)
    assert len({sent(traffic, burst) for burst in range(18)}) == 18


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_script_is_sound_shell(shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} here")
    text = script("0000:00:05.0", Traffic(15, 18, (0, 1)), opened="echo a", closing="echo b")
    subprocess.run([path, "-n"], input=text.encode(), check=True)


def over_a_line(answer: Callable[[bytes], bytes], traffic: Traffic, place: Path) -> dict[str, bytes]:
    """The script's files, run here over a pseudo-terminal whose other end sends back ``answer(bytes)``."""
    near, far = os.openpty()
    tty.setraw(far)
    stopped, stop = os.pipe()
    thread = threading.Thread(target=_send_back, args=(near, stopped, answer))
    thread.start()
    try:
        (place / "tty" / "ttyS1").mkdir(parents=True)
        text = script("0000:00:05.0", traffic).replace("/sys/bus/pci/devices/0000:00:05.0/tty", f"{place}/tty")
        text = text.replace('"/dev/${node##*/}"', os.ttyname(far))
        ended = subprocess.run(["sh"], input=text.encode(), capture_output=True, timeout=60, check=False)
    finally:
        os.close(stop)
        thread.join()
        for descriptor in (near, far, stopped):
            os.close(descriptor)
    assert ended.returncode == 0, ended.stderr
    return bundle.parse(ended.stdout)


def _send_back(near: int, stopped: int, answer: Callable[[bytes], bytes]) -> None:
    while select.select([near, stopped], [], [])[0] == [near]:
        os.write(near, answer(os.read(near, 4096)))


def test_the_script_brings_every_byte_back(tmp_path: Path) -> None:
    traffic = Traffic(15, 18)
    files = over_a_line(bytes, traffic, tmp_path)
    (port,) = parse(files)
    assert files["ports"] == b"1\n"
    assert port == PortTraffic(0, "ttyS1", tuple(sent(traffic, burst) for burst in range(18)), b"")
    assert complaints(traffic, port) == []


def test_the_script_tells_what_was_lost(tmp_path: Path) -> None:
    traffic = Traffic(16, 2, silence=0.1)
    (port,) = parse(over_a_line(lambda data: data.replace(b"\x11", b""), traffic, tmp_path))
    assert complaints(traffic, port) == [
        "port 0 (ttyS1): burst 1 of 2: sent 16 bytes, got 15 back: lost byte 2 (11)",
        "port 0 (ttyS1): 1 bursts of 2 were not sent after that loss",
    ]


def test_the_script_tells_what_came_in_addition(tmp_path: Path) -> None:
    traffic = Traffic(15, 1)
    (port,) = parse(over_a_line(lambda data: data + b"\x99", traffic, tmp_path))
    assert complaints(traffic, port) == ["port 0 (ttyS1): 1 bytes came back that were not sent: 99"]


@pytest.mark.parametrize("level", ["", "/0000:00:05.0:0/0000:00:05.0:0.0"])
def test_the_ttys_of_a_device_are_found_in_the_layouts_of_old_and_new_kernels(tmp_path: Path, level: str) -> None:
    node = f"{tmp_path}/0000:00:05.0"
    for name in ("ttyS10", "ttyS9", "ttyUSB0"):
        Path(f"{node}{level}/tty/{name}").mkdir(parents=True)
    Path(node, "driver", "other", "tty", "ttyS3").mkdir(parents=True)
    patterns = tty_patterns("0000:00:05.0").replace("/sys/bus/pci/devices", str(tmp_path))
    loop = f'for node in {patterns}; do [ -e "$node" ] && echo "${{node##*/}}"; done; :'
    ended = subprocess.run(["sh", "-c", loop], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["ttyS9", "ttyS10"]
