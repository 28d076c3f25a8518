# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices of the host's kernel that a scenario assigns, as its worker is asked for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.host.devices import MdevAssignment, OnChipAssignment, PciAssignment
from passthru.scenario.hosts import RigHost
from passthru.scenario.passed_through import AmbaDevice, FslMcDevice, MdevDevice, PciDevice, PlatformDevice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.host.devices import Assignment
    from passthru.scenario.models import Scenario
    from passthru.scenario.passed_through import PassedThrough


def assignments(scenario: Scenario, hardware: Mapping[str, str]) -> list[Assignment]:
    """One for each device; ``hardware`` says where each piece of a rig's hardware is, by its name."""
    host = scenario.host
    unsafe = isinstance(host, RigHost) and host.unsafe_interrupts
    return [_assignment(name, device, hardware, unsafe) for name, device in scenario.passed_through.items()]


def _assignment(name: str, device: PassedThrough, hardware: Mapping[str, str], unsafe: bool) -> Assignment:
    container = device.container
    match device:
        case PciDevice():
            host = hardware[device.hardware] if device.hardware else device.host
            return PciAssignment(name, host, vf=device.vf, vfs=device.vfs, container=container, unsafe=unsafe)
        case MdevDevice():
            return MdevAssignment(
                name, device.parent, device.type, uuid=device.uuid or None, container=container, unsafe=unsafe
            )
        case PlatformDevice() | AmbaDevice() | FslMcDevice():
            host = hardware.get(device.host, device.host)
            reset = device.reset_required if isinstance(device, PlatformDevice) else True
            return OnChipAssignment(name, device.bus, host, reset, container=container, unsafe=unsafe)
    raise TypeError(f"a device of the bus {device.bus} is none of the host's kernel")
