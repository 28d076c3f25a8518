# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that passthru can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.models.copy_engine import CopyEngineDevice
from passthru.emulation.models.dma_engine import DmaEngine
from passthru.emulation.models.management_complex import ManagementComplex
from passthru.emulation.models.mtty import Mtty

if TYPE_CHECKING:
    from passthru.emulation.model import Model


def catalogue() -> dict[str, type[Model]]:
    """Models by name. Each class has ``Options``, a frozen dataclass, and is built from an instance of it."""
    return {
        "mtty": Mtty,
        "dma-engine": DmaEngine,
        "copy-engine": CopyEngineDevice,
        "management-complex": ManagementComplex,
    }
