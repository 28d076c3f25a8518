# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios without a guest: ``[guest]`` with ``kind = "none"``, and what can be in them, and what only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from passthru.scenario.fitting import guest_machine
from passthru.scenario.hosts import RigHost
from passthru.scenario.models import NoGuest, ServedDevice
from passthru.scenario.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from passthru.check.options import CheckOptions
    from passthru.scenario.hosts import HostSpec
    from passthru.scenario.models import DeviceSpec

_NONE = '([guest] kind = "none")'
_OF_HOST = {"kernel": "kernel", "qemu": "emulator", "accel": "accel", "memory": "memory", "cpus": "cpus"}
"""Keys of a guest that a rig has as well, by its own word."""


def guest_table(host: HostSpec | None, table: Any, problems: list[Problem]) -> Any:
    """The table ``[guest]`` of a scenario on ``host``, filled in; the model of one that says that there is none."""
    if not _without(table):
        return guest_machine(host, table)
    for key in table:
        if key != "kind":
            instead = f"; its host's is host.{_OF_HOST[key]}" if key in _OF_HOST else ""
            problems.append(Problem(("guest", key), f"is of a guest, and the scenario has none {_NONE}{instead}"))
    return NoGuest(kind="none")


def around_guest(
    tree: Mapping[str, Any],
    host: HostSpec | None,
    devices: Mapping[str, DeviceSpec],
    checks: Mapping[str, CheckOptions],
) -> Iterator[Problem]:
    """What needs a guest where there is none, and what must be without one where there is."""
    if not _without(tree.get("guest")):
        for name, check in checks.items():
            if not check.with_guest:
                yield Problem(
                    ("check", name, "use"),
                    f'is "{check.use}", which opens the device itself, and VFIO gives it to one user at a time, here'
                    ' the guest; it is for scenarios without one ([guest] with kind = "none" alone)',
                )
        return
    if isinstance(host, RigHost) and host.qemu:
        yield Problem(("host", "qemu"), f"is the QEMU of a guest, and the scenario has none {_NONE}")
    for name, device in devices.items():
        if isinstance(device, ServedDevice):
            yield Problem(
                ("device", name, "bus"),
                f'is "{device.bus}", whose server is for a guest, and the scenario has none {_NONE}; judge it by'
                " `passthru conform`",
            )
        if device.properties:
            yield Problem(
                ("device", name, "properties"), f"are of a guest's device, and the scenario has no guest {_NONE}"
            )
    for name, check in checks.items():
        if not check.without_guest:
            yield Problem(("check", name, "use"), f'is "{check.use}", which needs a guest, and there is none {_NONE}')
        elif check.modules:
            yield Problem(("check", name, "modules"), f"are for a guest, and the scenario has none {_NONE}")
        elif getattr(check, "unplugged", False):
            yield Problem(("check", name, "unplugged"), f"is for a guest's device, and the scenario has none {_NONE}")


def _without(guest: Any) -> bool:
    return isinstance(guest, dict) and guest.get("kind") == "none"
