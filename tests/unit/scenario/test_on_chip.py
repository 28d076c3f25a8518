# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the buses platform, amba and fsl-mc in scenarios: what they become, and what is wrong in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import ScenarioError, UserMistake
from passthru.host.devices import OnChipAssignment
from passthru.run.assembly import passed_through
from passthru.run.assignments import assignments
from passthru.run.plan import demand_buses
from passthru.scenario.loading import load
from passthru.scenario.passed_through import FslMcDevice, MdevDevice, PlatformDevice

if TYPE_CHECKING:
    from pathlib import Path

DEVICES = """
[device.engine]
bus = "platform"
host = "copier"
reset_required = false
[device.clock]
bus = "amba"
host = "/pl031@9010000"
container = "iommufd"
[device.net]
bus = "fsl-mc"
host = "dprc.2"
[check.a]
use = "command"
command = "x"
"""


def test_as_the_worker_is_asked_for_them(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(DEVICES)
    wanted = assignments(load(tmp_path / "s.toml"), {"copier": "7fc00000.copy-engine"})
    common = {"container": "type1", "unsafe": False}
    assert wanted[0] == OnChipAssignment("engine", "platform", "7fc00000.copy-engine", reset_required=False)
    assert [one.request() for one in wanted] == [
        {"name": "engine", "bus": "platform", "host": "7fc00000.copy-engine", "reset_required": False, **common},
        {"name": "clock", "bus": "amba", "host": "/pl031@9010000", **common, "container": "iommufd"},
        {"name": "net", "bus": "fsl-mc", "host": "dprc.2", **common},
    ]


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ('bus = "platform"\nhost = "../x"', "s.toml:3: device.d.host: should be a name in sysfs"),
        ('bus = "amba"\nhost = "/../x"', "s.toml:3: device.d.host: should be a name in sysfs"),
        ('bus = "amba"\nhost = "clock"\nreset_required = false', "s.toml:4: device.d.reset_required: is no known key"),
        ('bus = "fsl-mc"\nhost = "dpni.0"', "s.toml:3: device.d.host: should be a container of the bus fsl-mc"),
        ('bus = "fsl-mc"', "s.toml:1: device.d.host: is missing"),
        ('bus = "platform"\nhost = "c"\ncontainer = "noiommu"', "s.toml:4: device.d.container: should be 'type1'"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, device: str, said: str) -> None:
    (tmp_path / "s.toml").write_text(f'[device.d]\n{device}\n[check.a]\nuse = "command"\ncommand = "x"\n')
    with pytest.raises(ScenarioError) as caught:
        load(tmp_path / "s.toml")
    assert said in str(caught.value)


def test_as_qemu_is_told_of_them() -> None:
    platform = PlatformDevice(bus="platform", host="copier", properties={"x-mmap": False})
    where = {"host": "7fc00000.copy-engine"}
    assert passed_through("e", platform, where, "vfio-platform").as_argument() == (
        "vfio-platform,id=e,host=7fc00000.copy-engine,x-mmap=off"
    )
    net = FslMcDevice(bus="fsl-mc", host="dprc.2", container="iommufd")
    made = passed_through("n", net, {"host": "dprc.2"}, "vfio-fsl-mc")
    assert made.as_argument().startswith("vfio-fsl-mc,id=n,host=dprc.2,iommufd=")
    assert made.backends[0][0] == "-object"
    uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
    mdev = MdevDevice(bus="mdev", uuid=uuid)
    at = {"sysfsdev": f"/sys/bus/mdev/devices/{uuid}"}
    assert passed_through("m", mdev, at, "vfio-platform").as_argument() == (
        f"vfio-platform,id=m,sysfsdev=/sys/bus/mdev/devices/{uuid}"
    )


def test_no_guest_gets_an_amba_device_and_that_is_told_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(DEVICES)
    with pytest.raises(UserMistake, match=r'device\.clock is on the bus "amba", and QEMU gives no guest such a device'):
        demand_buses(load(tmp_path / "s.toml"))
