# SPDX-License-Identifier: GPL-2.0-or-later
"""How the suite reaches a device: its target in JSON, as `passthru.vfio.conform.targets` reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.run.companions import socket_of
from passthru.scenario.models import ServedDevice
from passthru.scenario.passed_through import PassedThrough

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.host.devices import Prepared
    from passthru.scenario.models import DeviceSpec


def target_of(name: str, device: DeviceSpec, prepared: Mapping[str, Prepared]) -> dict[str, str]:
    """The target of the device with the id ``name``; a socket of the worker's is a placeholder, ``{socket:NAME}``."""
    if isinstance(device, ServedDevice):
        socket = socket_of(name, device)
        return {"transport": "vfio-user", "socket": socket if "/" in socket else f"{{socket:{socket}}}"}
    if not isinstance(device, PassedThrough):
        raise TypeError(f"the suite reaches no device of the bus {device.bus}")
    made = prepared[name]
    where = {"group": made.group and f"/dev/vfio/{made.group}", "cdev": made.cdev}
    return {
        "transport": "kernel",
        "name": made.address,
        "container": device.container,
        **{way: path for way, path in where.items() if path},
    }
