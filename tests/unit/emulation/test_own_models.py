# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of the user's own in a device server's process: served, and ended by their first mistake, which is told."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation.client import SECONDS, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-I", "-S", "-c"]
BOOT = "import sys;sys.path.append({!r});from passthru.emulation.__main__ import main;sys.exit(main())"
ROOT = str(Path(__file__).parents[3])

MODEL = """\
from dataclasses import dataclass
from passthru.emulation.model import Model
from passthru.emulation.pci import PciId, PciModel
from passthru.emulation.regions import Region

class Card(PciModel):
    @dataclass(frozen=True)
    class Options(Model.Options):
        speed: float = 1.0
    def __init__(self, options):
        super().__init__(options, PciId(0x1234, 0x5678), {0: Registers(0x100)})
    def plugged(self, plug):
        super().plugged(plug)
        self.regions[0].plug = plug
    def reset(self):
        raise RuntimeError("stuck")

class Registers(Region):
    def read(self, offset, count):
        if offset == 0x10:
            return b"short"
        if offset == 0x14:
            return 5
        if offset == 0x18:
            raise OSError(5, "on purpose")
        return {0: b"ABCDEFGH"}[offset][:count]
    def write(self, offset, data):
        if offset == 8:
            self.plug.defer(lambda: 1 / 0)
        assert offset != 4, "four"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory, for socket paths are short."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as path:
        (Path(path) / "card.py").write_text(MODEL)
        yield Path(path)


@contextmanager
def server(place: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    """A server of the model, its output going to ``place``/log, and its client."""
    with (place / "log").open("w") as log, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "socket"))
        listener.listen()
        fd = str(listener.fileno())
        arguments = [*COMMAND, BOOT.format(ROOT), *words, "--listen-fd", fd]
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True, pass_fds=[int(fd)]
        )
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(place / "socket"))
    client = Client(connection)
    try:
        yield process, client
    finally:
        client.close()
        process.kill()
        process.wait(SECONDS)


def said(place: Path) -> str:
    return (place / "log").read_text().replace(f"{place}/", "")


def test_it_is_served_with_its_options(place: Path) -> None:
    with server(place, f"{place}/card.py:Card", "--options", json.dumps({"speed": 2})) as (process, client):
        client.version()
        assert client.read(0, 0, 8) == b"ABCDEFGH"
        config = client.read(vfio.VFIO_PCI_CONFIG_REGION_INDEX, 0, 4)
        assert config == b"\x34\x12\x78\x56"
        reply = client.call(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0x18, 0, 4))
        assert reply.error == "EIO"  # an OSError is an answer, no mistake
        assert process.poll() is None


@pytest.mark.parametrize(
    ("command", "payload", "told"),
    [
        (
            user.VFIO_USER_REGION_READ,
            user.REGION_ACCESS.pack(0x20, 0, 4),
            "card.py:26: KeyError: 32 (in a read of region 0 at 0x20, 4 bytes)",
        ),
        (
            user.VFIO_USER_REGION_READ,
            user.REGION_ACCESS.pack(0x10, 0, 4),
            "card.py:19: returned 5 bytes in a read of region 0 at 0x10, 4 bytes",
        ),
        (
            user.VFIO_USER_REGION_READ,
            user.REGION_ACCESS.pack(0x14, 0, 4),
            "card.py:19: returned int in a read of region 0 at 0x14, 4 bytes",
        ),
        (
            user.VFIO_USER_REGION_WRITE,
            user.REGION_ACCESS.pack(4, 0, 1) + b"x",
            "card.py:30: AssertionError: four (in a write to region 0 at 0x4, 1 bytes)",
        ),
        (
            user.VFIO_USER_REGION_WRITE,
            user.REGION_ACCESS.pack(8, 0, 1) + b"x",
            "card.py:29: ZeroDivisionError: division by zero (in deferred work)",
        ),
        (user.VFIO_USER_DEVICE_RESET, b"", "card.py:16: RuntimeError: stuck (in reset)"),
    ],
)
def test_its_first_mistake_ends_the_server_and_names_the_line(
    place: Path, command: int, payload: bytes, told: str
) -> None:
    with server(place, f"{place}/card.py:Card") as (process, client):
        client.version()
        client.send(command, payload)
        assert process.wait(SECONDS) == 2
    lines = said(place).splitlines()
    assert lines[-1] == told
    assert "passthru/emulation" not in said(place)
    if "returned" not in told:
        assert lines[0] == "Traceback (most recent call last):"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{0: Registers(0x100)}", "{0: Registers(0x101)}", "card.py:11: ValueError: BAR 0 of 257 bytes; BARs are "),
        ("{0: Registers(0x100)}", "{6: Registers(0x100)}", "card.py:11: ValueError: BAR 6 of 256 bytes; BARs are "),
        (
            "\n    def plugged",
            ";self.regions = [Region()]\n    def plugged",
            "card.py:6: Card has 1 regions and 5 irqs",
        ),
        (
            "\n    def plugged",
            ";self.irqs = ()\n    def plugged",
            "card.py:6: Card has 9 regions and 0 irqs where a PCI",
        ),
        ("\n    def plugged", ";self.irqs = (1, 2, 3)\n    def plugged", "card.py:6: Card has irqs that are no "),
        ("\n    def plugged", ";self.regions = [3]*9\n    def plugged", "card.py:6: Card has regions that are no "),
        ("import Region", "import Rejoin", "card.py:4: ImportError: cannot import name 'Rejoin' from "),
    ],
)
def test_what_keeps_it_from_being_made_is_told_at_once(place: Path, old: str, new: str, told: str) -> None:
    (place / "card.py").write_text(MODEL.replace(old, new))
    arguments = [*COMMAND, BOOT.format(ROOT), f"{place}/card.py:Card", "--socket", f"{place}/s"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert done.stderr.replace(f"{place}/", "").splitlines()[-1].startswith(told), done.stderr
    assert not (place / "s").exists()


def test_a_model_of_a_package(place: Path) -> None:
    (place / "own_cards").mkdir()
    (place / "own_cards" / "__init__.py").touch()
    (place / "own_cards" / "card.py").write_text(MODEL.replace("KeyError", ""))
    with server(place, "own_cards.card:Card", "--package-root", str(place)) as (process, client):
        client.version()
        client.send(user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(0x20, 0, 4))
        assert process.wait(SECONDS) == 2
    assert said(place).splitlines()[-1].startswith("own_cards/card.py:26: KeyError: 32")
