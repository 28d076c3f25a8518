# SPDX-License-Identifier: GPL-2.0-or-later
"""Each defect that the DMA engine can be given is found by the test that is for it."""

from __future__ import annotations

from typing import get_args

import pytest

from passthru.emulation.models.dma_engine import DmaEngine
from passthru.emulation.models.dma_engine.defects import Defect
from tests.unit.vfio.conform.proxy import Line, listening
from tests.unit.vfio.conform.suite import judge

FOUND_BY = {
    "lost-interrupt": ("real-interrupts-are-counted", r"were signalled [0]"),
    "extra-interrupt": ("real-interrupts-are-counted", "were signalled [2, "),
    "wrong-vector": ("a-real-interrupt-comes", "were signalled [0, 1, "),
    "wrong-byte": ("device-copies-across-pages", "of the destination is"),
    "page-wrap": ("device-copies-across-pages", "of the destination is"),
    "stray-write": ("device-copies-at-random", "of the destination is 0xa5"),
    "silent-fault": ("device-writes-nothing-that-is-not-mapped", "told of no fault"),
    "no-bus-master": ("device-without-bus-mastering-reaches-nothing", "told of no fault"),
}


def test_there_is_a_test_for_each() -> None:
    assert FOUND_BY.keys() | {"none"} == set(get_args(Defect))


@pytest.mark.parametrize("defect", FOUND_BY)
def test_it_is_found(defect: Defect) -> None:
    name, says = FOUND_BY[defect]
    device = DmaEngine(DmaEngine.Options(defect=defect))
    try:
        with listening(device, Line) as path:
            found = judge(path, (name,))[name]
    finally:
        device.close()
    assert found.verdict == "failed"
    assert says in found.summary
