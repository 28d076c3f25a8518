# SPDX-License-Identifier: GPL-2.0-or-later
"""Loading the modules that are needed and not there, journaled."""

from __future__ import annotations

from passthru.worker.devices.iommu import present
from passthru.worker.devices.modules import closure, idle, loaded, normal
from passthru.worker.devices.platform import RESET_REQUIRED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.ledger import Ledger

_UNSAFE = "allow_unsafe_interrupts"
_RESETTING = "vfio-platform"


def load_missing(
    ledger: Ledger, names: list[str], *, unsafe: bool = False, without_reset: bool = False, owner: str = ""
) -> None:
    """Load each of ``names``, with ``unsafe`` the container's so that it allows interrupts without remapping, and with
    ``without_reset`` the driver so that it takes devices that it cannot reset.

    What is loaded stays until the steps of ``owner`` are undone, and then only goes if nobody uses it. StepError.
    """
    system = ledger.system
    for name in names:
        parameters = {_UNSAFE: "1"} if unsafe and name in ("iommufd", "vfio_iommu_type1") else {}
        parameter = f"/sys/module/{normal(name)}/parameters/{_UNSAFE}"
        common = {"owner": owner, "resource": ""}
        if not present(system, name):
            if without_reset and name == _RESETTING:
                parameters = {"reset_required": "0"}
            new = [need for need in closure(system, name) or [normal(name)] if not loaded(system, need)]
            step = {"kind": "module-load", "target": name, "modules": new, "parameters": parameters}
            ledger.do({**step, "before": None, "after": "loaded", **common})
        elif parameters and system.read(parameter) == "N":
            ledger.do({"kind": "parameter", "target": parameter, "before": "N", "after": "Y", **common})
        elif without_reset and name == _RESETTING and system.read(RESET_REQUIRED) == "Y" and idle(system, name):
            step = {"kind": "module-reload", "target": name, "parameter": "reset_required", "before": "Y", "after": "N"}
            ledger.do({**step, **common})
