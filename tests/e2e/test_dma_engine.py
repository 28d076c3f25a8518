# SPDX-License-Identifier: GPL-2.0-or-later
"""The dma-engine in real guests: by shared RAM and by messages, on several kernels, and with each of its defects."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import pytest

from passthru.emulation.models.dma_engine.defects import Defect
from passthru.vfio.trace_lines import read_trace

if TYPE_CHECKING:
    from tests.e2e.harness import Command, Ended

TELLING = {
    "lost-interrupt": "expected 1 interrupt on MSI-X vector 1, got 0",
    "extra-interrupt": "the counts",
    "wrong-vector": "expected no interrupt on other vectors, got 1",
    "wrong-byte": "1 byte not: the first, 0 from its start, is 10 instead of 00",
    "page-wrap": "61 bytes not: the first, 3 from its start",
    "stray-write": "before or behind it to change, 1 byte did: the first, 1 from its start, is a5",
    "silent-fault": "expected the result 2 (unmapped address), the device tells 1 (done)",
    "no-bus-master": "expected the result 4 (no bus master), the device tells 1 (done)",
}
"""For each defect a part of what the check must say of it."""


def dma(ended: Ended) -> dict[str, Any]:
    """What the check dma found."""
    return ended.findings()["dma"]


def messages(ended: Ended) -> Counter[str]:
    """How many messages of each name the device's trace holds, either way."""
    return Counter(line.split()[2] for line in read_trace(ended.directory / "dma0.vfio-user"))


def test_by_shared_memory(passthru: Command) -> None:
    ended = passthru("run", "dma-engine")
    assert ended.status == 0, ended
    finding = dma(ended)
    assert finding["facts"]["vectors"] == {"msix": 8, "msi": 1, "intx": 1}
    assert finding["facts"]["transfers"] >= 100
    seen = messages(ended)
    assert not seen["DMA_READ"]
    assert not seen["DMA_WRITE"]
    assert seen["DEVICE_RESET"]


def test_by_messages(passthru: Command) -> None:
    ended = passthru("run", "dma-engine-messages")
    assert ended.status == 0, ended
    seen = messages(ended)
    assert seen["DMA_READ"] >= 100  # a request and a reply for each transfer
    assert seen["DMA_WRITE"] >= 100


@pytest.mark.parametrize("kernel", ["debian:bookworm-backports"])
@pytest.mark.parametrize("scenario", ["dma-engine", "dma-engine-messages"])
def test_on_another_kernel(passthru: Command, scenario: str, kernel: str) -> None:
    ended = passthru("run", scenario, "--kernel", kernel, "--no-skip")
    assert ended.status == 0, ended


@pytest.mark.parametrize(
    ("options", "vectors"),
    [
        ({"msix": 16}, {"msix": 16, "msi": 1, "intx": 1}),
        ({"msix": 0}, {"msi": 1, "intx": 1}),
        ({"msix": 0, "msi": 0}, {"intx": 1}),
        ({"buffer_kib": 16384}, {"msix": 8, "msi": 1, "intx": 1}),
    ],
)
def test_other_devices(passthru: Command, options: dict[str, int], vectors: dict[str, int]) -> None:
    words = [word for name, value in options.items() for word in ("--set", f"device.dma0.{name}={value}")]
    ended = passthru("run", "dma-engine", *words)
    assert ended.status == 0, ended
    assert dma(ended)["facts"]["vectors"] == vectors


def test_behind_an_iommu_of_the_guest(passthru: Command) -> None:
    ended = passthru("run", "dma-engine-iommu")
    assert ended.status == 0, ended
    assert dma(ended)["facts"]["vectors"] == {"msix": 8, "msi": 8, "intx": 1}
    seen = messages(ended)
    assert min(seen["DMA_MAP"], seen["DMA_UNMAP"]) >= 200  # a request and a reply for each transfer's memory


@pytest.mark.parametrize("defect", [name for name in get_args(Defect) if name != "none"])
def test_every_defect_is_found_and_told(passthru: Command, defect: str) -> None:
    ended = passthru("run", "dma-engine", "--set", f"device.dma0.defect={defect}")
    assert ended.status == 1, ended
    finding = dma(ended)
    assert finding["verdict"] == "failed"
    assert TELLING[defect] in "\n".join(finding["details"])
