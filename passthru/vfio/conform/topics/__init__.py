# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests, one module a subject; `TOPICS` is the order in which they run."""

from __future__ import annotations

TOPICS = (
    "info",
    "regions",
    "pci_config",
    "irqs",
    "interrupts",
    "platform",
    "fsl_mc",
    "loop",
    "dma_by_device",
    "features",
    "migration",
    "container",
    "iommu",
    "dma",
    "dma_limits",
    "dirty",
    "noiommu",
    "iommufd",
    "external_user",
    "wire",
    "reconnect",
    "lifecycle",
    "malformed",
)
