# SPDX-License-Identifier: GPL-2.0-or-later
"""The buses whose devices VFIO gives away, and how a device is named where no scenario says its bus."""

from __future__ import annotations

import re

from passthru.worker.devices.steps import BUSES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from passthru.worker.devices.system import System

PCI, PLATFORM, AMBA, FSL_MC = "pci", "platform", "amba", "fsl-mc"
DRIVERS = {PCI: "vfio-pci", PLATFORM: "vfio-platform", AMBA: "vfio-amba", FSL_MC: "vfio-fsl-mc"}
"""The driver of VFIO for each bus, which is also the name of its module."""
ON_CHIP = (PLATFORM, AMBA, FSL_MC)
"""The buses of a chip's own devices, which no PCI bus finds: the firmware tells of them."""

_OBJECT = re.compile(r"dp[a-z]+\.[0-9]+")


def split(system: System, text: str) -> tuple[str, str]:
    """The bus of a device, and its name there: "amba:9010000.pl031", or without the bus what it is recognised by.

    Objects of DPAA2 ("dprc.2") and names that a bus has are; all else is a PCI device.
    """
    before, colon, name = text.strip().partition(":")
    if colon and before in DRIVERS:
        return before, name
    name = text.strip()
    if _OBJECT.fullmatch(name):
        return FSL_MC, name
    for bus in (AMBA, PLATFORM):
        if name in system.names(f"{BUSES}/{bus}/devices"):
            return bus, name
    return PCI, name
