# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be judged: the devices of a scenario's rig, a device of this machine, or whatever serves one at a socket.

Each becomes a scenario with devices and without checks, so that all of them are prepared and started as for a run.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import UserMistake
from passthru.run.conform.go import SuiteOptions
from passthru.run.pins import Pins
from passthru.run.what import the_request
from passthru.scenario.hosts import RigHost
from passthru.scenario.loading import of_tree, resolved
from passthru.scenario.passed_through import MdevDevice
from passthru.scenario.problems import choice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.scenario.models import Scenario

CONTAINERS = ("type1", "type1v2", "iommufd", "noiommu")
DUT = "dut"
"""The id of the device under test where no scenario names it."""
_PLACE = "conform"
"""What errors name as the place of what stands in no file."""
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ADDRESS = re.compile(r"([0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7](/[0-9a-fA-F]{2}\.[0-7])*")
_IDS = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}")
_CONTAINER = re.compile(r"dprc\.[0-9]+")
_ON_CHIP = re.compile(r"(platform|amba|fsl-mc):(.+)")


@dataclass(frozen=True)
class ConformRequest:
    """The devices of ``scenario``, judged by the suite; ``pins`` are the versions that a lock file demands."""

    scenario: Scenario
    options: SuiteOptions = field(default_factory=SuiteOptions)
    pins: Pins = field(default_factory=Pins)


@dataclass(frozen=True)
class Wanted:
    """What the user says beside what is to be judged."""

    container: str | None = None
    set_texts: Sequence[str] = ()
    options: SuiteOptions = field(default_factory=SuiteOptions)


def in_rig(name: str, device: str | None, wanted: Wanted) -> ConformRequest:
    """The devices of the rig of a scenario (a name, a file, or a run directory), or the one with the id ``device``.

    Raises ScenarioError, UserMistake.
    """
    found = the_request(name, wanted.set_texts)
    scenario = found.scenario
    if not isinstance(scenario.host, RigHost):
        raise UserMistake(
            f"{name} has no rig; `passthru conform --model`, --server or --vfio-user judges a device server by itself"
        )
    if not scenario.device:
        raise UserMistake(f"{name} has no device to be judged")
    if device is not None and device not in scenario.device:
        raise UserMistake(f"--device {device}: {choice(device, scenario.device, 'device')}")
    tree = resolved(scenario)
    judged = {key: table for key, table in tree["device"].items() if device in (None, key)}
    tree |= {"device": judged, "check": {}, "name": _named(scenario.name.removeprefix("conform-"))}
    made = _made(tree, wanted, ())
    _demand_no_iommu(made, scenario.host)
    return replace(made, pins=found.pins)


def of_this_machine(device: str, wanted: Wanted) -> ConformRequest:
    """A PCI device by its address or vendor:device, an mdev by its UUID, a DPAA2 container, or "platform:NAME" and
    "amba:NAME". Raises UserMistake, ScenarioError."""
    on_chip = _ON_CHIP.fullmatch(device)
    if _UUID.fullmatch(device):
        table = {"bus": "mdev", "uuid": device}
    elif _ADDRESS.fullmatch(device) or _IDS.fullmatch(device):
        table = {"bus": "pci", "host": device}
    elif _CONTAINER.fullmatch(device):
        table = {"bus": "fsl-mc", "host": device}
    elif on_chip:
        table = {"bus": on_chip[1], "host": on_chip[2]}
    else:
        raise UserMistake(
            f"{device} is no device of this machine: write an address (0000:00:05.0), vendor:device (1234:11e8), the"
            " UUID of an mdev, a container (dprc.2), or platform:NAME and amba:NAME; a scenario's rig is named by"
            f" --rig {device}"
        )
    tree = {"name": _named(device), "summary": f"{device} of this machine", "device": {DUT: table}}
    return _made(tree, wanted, wanted.set_texts)


def at_socket(path: Path, wanted: Wanted) -> ConformRequest:
    """The device that somebody serves at a UNIX socket already. Raises ScenarioError."""
    table = {"bus": "vfio-user", "companion": {"socket": str(path.absolute())}}
    tree = {"name": _named(path.stem), "summary": f"the device served at {path}", "device": {DUT: table}}
    return _made(tree, wanted, wanted.set_texts)


def by_server(command: str, path: Path | None, wanted: Wanted) -> ConformRequest:
    """The device of a server that is to be started; it listens at ``{socket}`` of its command, or at ``path``.

    Raises UserMistake, ScenarioError.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UserMistake(f"--server {command}: is no command: {error}") from error
    if not words:
        raise UserMistake("--server: the command is empty; write a program and its arguments, with {socket} in them")
    if path is None and not any("{socket}" in word for word in words):
        raise UserMistake(
            f"--server {command}: has no {{socket}}, which becomes the path where it has to listen; add it, or name the"
            " path where it listens by --vfio-user"
        )
    companion: dict[str, Any] = {"command": words}
    if path is not None:
        companion["socket"] = str(path.absolute())
    tree = {
        "name": _named(Path(words[0]).stem),
        "summary": f"the device of {words[0]}",
        "device": {DUT: {"bus": "vfio-user", "companion": companion}},
    }
    return _made(tree, wanted, wanted.set_texts)


def of_model(model: str, options: Mapping[str, Any], wanted: Wanted) -> ConformRequest:
    """A model of passthru's or of the user's own (FILE.py:CLASS), served for it. Raises ScenarioError."""
    table = {"bus": "vfio-user", "model": model, **options}
    name = Path(model.partition(".py")[0]).name
    tree = {"name": _named(name), "summary": f"the model {model}", "device": {DUT: table}}
    return _made(tree, wanted, wanted.set_texts)


def _made(tree: dict[str, Any], wanted: Wanted, set_texts: Sequence[str]) -> ConformRequest:
    of_kernel = [name for name, table in tree["device"].items() if table["bus"] != "vfio-user"]
    # What the suite judges of a device of the kernel is its driver there.
    tree["subject"] = ["device", "host-kernel"] if of_kernel else ["device"]
    if wanted.container is not None:
        if wanted.container not in CONTAINERS:
            raise UserMistake(f"--container {wanted.container}: {choice(wanted.container, CONTAINERS, 'container')}")
        if not of_kernel:
            raise UserMistake(
                f"--container {wanted.container} is for devices of a kernel; a device server sees memory by its socket"
            )
        for name in of_kernel:
            tree["device"][name]["container"] = wanted.container
    return ConformRequest(of_tree(tree, _PLACE, set_texts), wanted.options)


def _demand_no_iommu(request: ConformRequest, host: RigHost) -> None:
    """What a rig that is not booted yet cannot do is told before it is."""
    for name, device in request.scenario.passed_through.items():
        if device.container != "noiommu":
            continue
        if isinstance(device, MdevDevice):
            raise UserMistake(
                f"{name} is an mdev, which VFIO never gives away without an IOMMU; take --container type1 or iommufd"
            )
        if host.iommu != "none":
            raise UserMistake(
                f'{name} has an IOMMU before it (host.iommu is "{host.iommu}"), and VFIO gives no such device away'
                " without it; add --set host.iommu=none"
            )


def _named(what: str) -> str:
    """The name of a run, and of its directory."""
    word = re.sub(r"[^A-Za-z0-9_.-]+", ".", what).strip(".-")
    return f"conform-{word}" if word else "conform"
