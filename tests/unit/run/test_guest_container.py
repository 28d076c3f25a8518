# SPDX-License-Identifier: GPL-2.0-or-later
"""A container for a guest: by QEMU or by a process beside it, what is refused, and that process as it is started."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from passthru.deadline import Deadline
from passthru.emulation.fsl_mc_bridge.settings import parse_settings
from passthru.errors import GuestTrouble, MissingCapability, PassthruError, UserMistake
from passthru.host import ChildSpec, Exit
from passthru.run import guest_container
from passthru.run.assembly import assigned_devices
from passthru.run.guest_container import bridged
from passthru.run.rig_script import _bridge
from passthru.scenario.loading import load
from tests.unit.run.test_guest_tree import QEMU

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.host import Host
    from passthru.host.devices import Prepared
    from passthru.scenario.models import Scenario

RIG = """
[host]
kind = "rig"
arch = "arm64"
iommu = "ram-smmuv2"
memory = "1G"
[host.hardware.complex]
model = "management-complex"
"""
CHECK = '[check.a]\nuse = "command"\ncommand = "x"\n'
NET = '[device.net]\nbus = "fsl-mc"\nhost = "dprc.2"\n'
OTHER = '[device.other]\nbus = "fsl-mc"\nhost = "dprc.3"\n'
WITH_DEVICE = replace(QEMU, devices=QEMU.devices | {"vfio-fsl-mc"})


def scenario(tmp_path: Path, text: str) -> Scenario:
    (tmp_path / "s.toml").write_text(text + CHECK)
    return load(tmp_path / "s.toml")


def test_a_qemu_without_the_device_has_a_process_beside_it(tmp_path: Path) -> None:
    assert bridged(scenario(tmp_path, RIG + NET), QEMU) == "net"
    assert bridged(scenario(tmp_path, RIG), QEMU) == ""


def test_a_qemu_with_the_device_takes_any_container(tmp_path: Path) -> None:
    assert bridged(scenario(tmp_path, RIG + NET + 'container = "iommufd"\n' + OTHER), WITH_DEVICE) == ""
    assert bridged(scenario(tmp_path, NET), WITH_DEVICE) == ""


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        (NET, MissingCapability, r"has no vfio-fsl-mc, which device\.net needs on this machine; name a QEMU"),
        (RIG + NET + OTHER, UserMistake, r"a guest gets one container; leave out device\.other$"),
        (RIG + NET + 'container = "iommufd"\n', UserMistake, r'its VFIO group; take container = "type1"$'),
        (RIG.replace("arm64", "amd64").partition("iommu")[0] + NET, UserMistake, r"machine is 'pc', .* \"arm64\"$"),
        (RIG + NET + '[guest]\nmemory = "128M"\n', UserMistake, r"needs 256 MiB of RAM .* has 128; set guest\.memory"),
    ],
)
def test_what_the_process_cannot_give_is_refused(
    tmp_path: Path, text: str, error: type[PassthruError], told: str
) -> None:
    with pytest.raises(error, match=told):
        bridged(scenario(tmp_path, text), QEMU)


def test_the_guest_knows_it_by_the_name_that_it_has_on_the_host(tmp_path: Path) -> None:
    of = scenario(tmp_path, RIG + NET)
    plan: Any = type("Plan", (), {"scenario": of, "rig": None})
    up: Any = type("Up", (), {"facts": {}})
    assert assigned_devices(plan, up)["net"].address == "dprc.2"


@dataclass
class Child:
    """A started process."""

    name: str
    streams: dict[str, socket.socket]
    exited: asyncio.Future[Exit]

    async def wait(self, deadline: Deadline | None = None) -> Exit:
        return await self.exited


@dataclass
class Place:
    """A host whose processes say ``says``, or end."""

    says: bytes = b"ready\n"
    ends: Exit | None = None
    started: list[ChildSpec] = field(default_factory=list)
    far: list[socket.socket] = field(default_factory=list)

    def own_command(self, module: str, *arguments: str) -> tuple[str, ...]:
        return ("python", module, *arguments)

    async def start(self, spec: ChildSpec) -> Child:
        self.started.append(spec)
        near, far = socket.socketpair()
        near.setblocking(False)
        self.far += [near, far]
        far.send(self.says) if self.says else None
        exited = asyncio.get_running_loop().create_future()
        if self.ends:
            far.close()
            spec.output.write_text("dprc.2 cannot be opened\n") if spec.output else None
            exited.set_result(self.ends)
        return Child(spec.name, {"ready": near}, exited)

    def close(self) -> None:
        for end in self.far:
            end.close()


async def started(place: Place, tmp_path: Path, seconds: float = 5.0) -> Any:
    made: Any = type("Made", (), {"address": "dprc.2", "group": "7"})
    guest = scenario(tmp_path, RIG + NET).guest
    try:
        return await guest_container.start(
            "net", cast("Prepared", made), guest, cast("Host", place), Deadline.after(seconds), tmp_path / "net.log"
        )
    finally:
        place.close()


async def test_it_is_told_what_it_takes(tmp_path: Path) -> None:
    place = Place()
    assert (await started(place, tmp_path)).name == "net"
    (spec,) = place.started
    _, module, told = spec.argv
    assert module == "passthru.emulation.fsl_mc_bridge"
    settings = parse_settings(told.replace("{stream:ready}", "5"))
    assert (settings.group, settings.container, settings.ready) == ("/dev/vfio/7", "dprc.2", 5)
    assert (settings.ram.path, settings.qtest) == ("{socket:ram}", "{socket:qtest}")
    assert json.loads(told.replace("{stream:ready}", "5"))["ram"]["size"] == 256 << 20
    assert guest_container.qemu_arguments()[:2] == ("-qtest", "unix:{socket:qtest},server=on,wait=off")


async def test_its_end_before_it_holds_anything_is_the_devices(tmp_path: Path) -> None:
    with pytest.raises(
        GuestTrouble, match=r"net exited with status 125 before it held dprc\.2; it last said"
    ) as caught:
        await started(Place(says=b"", ends=Exit(125)), tmp_path)
    assert caught.value.culprit == "device"


async def test_it_has_a_deadline(tmp_path: Path) -> None:
    with pytest.raises(GuestTrouble, match=r"net did not hold dprc\.2 in 0\.1 s"):
        await started(Place(says=b""), tmp_path, seconds=0.1)


def test_by_hand_it_is_a_command_for_the_rigs_shell(tmp_path: Path) -> None:
    plan: Any = type("Plan", (), {"scenario": scenario(tmp_path, RIG + NET)})
    line = f"group=7; printf '%s\\n' {_bridge('dprc.2', plan)}"
    said = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True).stdout
    settings = parse_settings(said.splitlines()[-1])
    assert (settings.group, settings.ram.path, settings.qtest) == ("/dev/vfio/7", "/tmp/ram", "/tmp/qtest")
    assert settings.ready is None
