# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user names becomes a scenario with devices; what cannot be is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import UserMistake
from passthru.host.devices import Prepared
from passthru.run.conform import request
from passthru.run.conform.go import SuiteOptions
from passthru.run.conform.request import Wanted
from passthru.run.conform.target import target_of
from passthru.run.plan import demand_containers
from passthru.scenario.loading import load
from passthru.scenario.models import ServedDevice
from passthru.scenario.passed_through import FslMcDevice, MdevDevice, OnChipDevice, PassedThrough, PciDevice

if TYPE_CHECKING:
    from collections.abc import Callable

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
TWO = """\
summary = "two"
[host]
kind = "rig"
iommu = "{iommu}"
[host.hardware.edu]
device = "edu"
[device.card0]
bus = "pci"
host = "edu"
[device.mtty0]
bus = "mdev"
parent = "mtty"
type = "mtty-2"
[check.dmesg]
use = "dmesg"
device = "card0"
expect = ["x"]
"""


@pytest.fixture
def two(tmp_path: Path) -> Callable[..., str]:
    """The file of a scenario with a rig and two devices."""

    def write(iommu: str = "intel") -> str:
        path = tmp_path / "two.toml"
        path.write_text(TWO.format(iommu=iommu))
        return str(path)

    return write


def test_the_devices_of_a_scenarios_rig(two: Callable[..., str]) -> None:
    options = SuiteOptions(("irq*",))
    made = request.in_rig(two(), None, Wanted(options=options))
    assert made.options is options
    scenario = made.scenario
    assert scenario.name == "conform-two"
    assert list(scenario.device) == ["card0", "mtty0"]
    assert scenario.check == {}  # nothing of a guest's is judged, or brought
    assert set(scenario.subject) == {"device", "host-kernel"}  # its driver there is what is under test


def test_one_of_them_by_another_container_and_overridden(two: Callable[..., str]) -> None:
    wanted = Wanted("iommufd", ("host.kernel=own", "device.card0.host=edu"))
    scenario = request.in_rig(two(), "card0", wanted).scenario
    (card,) = scenario.device.values()
    assert isinstance(card, PciDevice)
    assert (card.container, scenario.host.model_dump()["kernel"]) == ("iommufd", "own")


@pytest.mark.parametrize("device", ["0000:00:05.0", "00:05.0", "00:04.0/00.0", "1234:11e8"])
def test_a_pci_device_of_this_machine(device: str) -> None:
    scenario = request.of_this_machine(device, Wanted("noiommu")).scenario
    card = scenario.device["dut"]
    assert isinstance(card, PciDevice)
    assert (card.host, card.container, scenario.host.kind) == (device, "noiommu", "local")


@pytest.mark.parametrize(
    ("device", "bus", "name"),
    [
        ("platform:9010000.pl031", "platform", "9010000.pl031"),
        ("amba:9010000.pl031", "amba", "9010000.pl031"),
        ("dprc.2", "fsl-mc", "dprc.2"),
        ("fsl-mc:dprc.2", "fsl-mc", "dprc.2"),
    ],
)
def test_a_device_on_the_chip_of_this_machine(device: str, bus: str, name: str) -> None:
    found = request.of_this_machine(device, Wanted()).scenario.device["dut"]
    assert isinstance(found, OnChipDevice | FslMcDevice)
    assert (found.bus, found.host) == (bus, name)


def test_an_mdev_of_this_machine_is_there_already() -> None:
    device = request.of_this_machine(UUID.upper(), Wanted()).scenario.device["dut"]
    assert isinstance(device, MdevDevice)
    assert (device.uuid, device.parent, device.type, device.container) == (UUID, None, None, "type1")


def test_a_socket_a_server_and_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    served = request.at_socket(Path("card.sock"), Wanted()).scenario
    assert served.subject == ("device",)
    assert served.name == "conform-card"
    (device,) = served.served.values()
    assert device.companion is not None
    assert (device.companion.socket, device.companion.command) == (str(tmp_path / "card.sock"), ())
    (device,) = request.by_server("./serve 'a b' {socket}", None, Wanted()).scenario.served.values()
    assert device.companion is not None
    assert device.companion.command == ("./serve", "a b", "{socket}")
    assert device.companion.directory == str(tmp_path)
    (device,) = request.by_server("./serve", Path("its.sock"), Wanted()).scenario.served.values()
    assert device.companion is not None
    assert device.companion.socket == str(tmp_path / "its.sock")
    (device,) = request.of_model(
        "mtty", {"ports": 1}, Wanted(set_texts=("device.dut.fifo=fixed",))
    ).scenario.served.values()
    assert (device.model, device.options["ports"], device.options["fifo"]) == ("mtty", 1, "fixed")


def test_how_the_suite_reaches_each() -> None:
    served = ServedDevice(bus="vfio-user", model="mtty")
    assert target_of("m", served, {}) == {"transport": "vfio-user", "socket": "{socket:m}"}
    by_path = request.at_socket(Path("/s/card.sock"), Wanted()).scenario.device["dut"]
    assert target_of("m", by_path, {}) == {"transport": "vfio-user", "socket": "/s/card.sock"}
    made = Prepared("m", {}, "0000:00:05.0", None, "noiommu-0", None, (), None, (), "pci", "vfio-pci")
    card = PciDevice(bus="pci", host="1234:11e8", container="noiommu")
    assert target_of("m", card, {"m": made}) == {
        "transport": "kernel",
        "name": "0000:00:05.0",
        "container": "noiommu",
        "group": "/dev/vfio/noiommu-0",
    }
    both = Prepared("m", {}, UUID, UUID, "3", "/dev/vfio/devices/vfio0", (), None, (), "mdev", "vfio-pci")
    mdev = MdevDevice(bus="mdev", uuid=UUID, container="iommufd")
    assert target_of("m", mdev, {"m": both}) == {
        "transport": "kernel",
        "name": UUID,
        "container": "iommufd",
        "group": "/dev/vfio/3",
        "cdev": "/dev/vfio/devices/vfio0",
    }


def refused(made: Callable[[], object]) -> str:
    with pytest.raises(UserMistake) as caught:
        made()
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_judged_is_one_sentence(two: Callable[..., str]) -> None:
    assert refused(lambda: request.in_rig("mtty", None, Wanted())).startswith("mtty has no rig; ")
    assert refused(lambda: request.in_rig(two(), "crad0", Wanted())).startswith(
        '--device crad0: there is no device "crad0"; did you mean "card0"?'
    )
    assert refused(lambda: request.of_this_machine("mtty-mdev", Wanted())).startswith("mtty-mdev is no device of this")
    assert "--rig mtty-mdev" in refused(lambda: request.of_this_machine("mtty-mdev", Wanted()))
    assert refused(lambda: request.by_server("serve", None, Wanted())).startswith("--server serve: has no {socket}")
    assert refused(lambda: request.by_server("serve '", None, Wanted())).startswith("--server serve ': is no command: ")
    assert refused(lambda: request.by_server("", None, Wanted())).startswith("--server: the command is empty")
    assert refused(lambda: request.of_model("mtty", {}, Wanted("type1"))).startswith("--container type1 is for devices")
    assert 'there is no device model "mty"; did you mean "mtty"' in refused(
        lambda: request.of_model("mty", {}, Wanted())
    )
    assert "device.dut.prots: is no known key" in refused(lambda: request.of_model("mtty", {"prots": 1}, Wanted()))
    assert "at most 107 bytes" in refused(lambda: request.at_socket(Path("/" + "x" * 108), Wanted()))


def test_a_rig_that_cannot_do_without_an_iommu_is_not_booted(two: Callable[..., str]) -> None:
    said = refused(lambda: request.in_rig(two(), "card0", Wanted("noiommu")))
    assert said.startswith('card0 has an IOMMU before it (host.iommu is "intel")')
    assert said.endswith("add --set host.iommu=none")
    assert refused(lambda: request.in_rig(two("none"), "mtty0", Wanted("noiommu"))).startswith("mtty0 is an mdev")
    scenario = request.in_rig(two(), "card0", Wanted("noiommu", ("host.iommu=none",))).scenario
    (card,) = scenario.passed_through.values()
    assert card.container == "noiommu"


@pytest.mark.parametrize("container", ["type1v2", "noiommu"])
def test_no_guest_gets_a_device_by_what_is_for_the_suite_alone(two: Callable[..., str], container: str) -> None:
    scenario = load(Path(two()), [f"device.card0.container={container}"])
    assert all(isinstance(device, PassedThrough) for device in scenario.device.values())
    assert refused(lambda: demand_containers(scenario)).startswith(f'device.card0.container is "{container}", by which')
    demand_containers(load(Path(two()), ["device.card0.container=iommufd"]))
