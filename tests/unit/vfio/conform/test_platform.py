# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests of platform devices: each finds the defect that it is there for, and nothing in a device without one."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, get_args

import pytest

from passthru.vfio.conform import on_chip
from passthru.vfio.conform.bench import Bench
from passthru.vfio.conform.known_defects import known_defect
from passthru.vfio.conform.registry import all_tests
from passthru.vfio.conform.report import Report
from passthru.vfio.conform.runner import Runner
from passthru.vfio.conform.settling import steps_for
from tests.unit.vfio.conform.made_device import made_facts, verdicts
from tests.unit.vfio.conform.made_platform import (
    NAME,
    Defect,
    MadePlatformTarget,
    MadeStub,
    as_target,
    platform_facts,
)

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.vfio.device import VfioDevice
    from passthru.vfio.stubs.stub import Stub

TESTS = [test for test in all_tests() if test.topic == "platform"]
FOUND_BY: dict[Defect, set[str]] = {
    "none": set(),
    "another-bus": {"device-info-names-the-bus-that-it-is-on"},
    "a-region-too-few": {"regions-are-those-of-the-device-tree"},
    "a-short-region": {"regions-are-those-of-the-device-tree"},
    "maps-parts-of-pages": {"whole-pages-can-be-mapped-and-nothing-else"},
    "maps-nothing": {"whole-pages-can-be-mapped-and-nothing-else"},
    "long-reads-repeat": {"a-long-read-is-one-of-words"},
    "wide-reads-only": {"accesses-of-one-two-and-four-bytes-are-taken"},
    "flags-of-an-edge": {"levels-mask-themselves"},
    "level-is-not-masked": {"a-triggered-level-is-signalled-once"},
    "replacing-unmasks": {"a-mask-outlives-the-eventfd"},
    "mask-eventfd-is-deaf": {"an-eventfd-masks"},
    "mask-eventfd-stays": {"an-eventfd-masks", "a-second-eventfd-that-masks-is-refused"},
    "unmask-eventfd-is-deaf": {"an-eventfd-unmasks-what-was-triggered"},
    "second-eventfd-is-taken": {"a-second-eventfd-that-masks-is-refused"},
    "reset-reaches-nobody": {"a-reset-reaches-the-reset-driver"},
    "opening-resets-nothing": {"opening-and-closing-reset-the-device"},
    "closing-resets-nothing": {"opening-and-closing-reset-the-device"},
}


def judged(target: MadePlatformTarget) -> dict[str, tuple[str, str]]:
    """The verdicts of the topic's tests."""

    def stub_of(device: VfioDevice) -> Stub | None:
        return MadeStub(device, platform_facts().identity)

    mine, its = socket.socketpair()
    with mine, its:
        bench = Bench(as_target(target), stub_of)
        bench.settling = steps_for(platform_facts())
        Runner(bench, platform_facts(), Report(its.fileno()), seed=1, limit=20).run(TESTS)
        its.shutdown(socket.SHUT_WR)
        with mine.makefile() as lines:
            return verdicts([json.loads(line) for line in lines])


@pytest.mark.parametrize("defect", get_args(Defect))
def test_a_defect_is_found(defect: Defect, monkeypatch: pytest.MonkeyPatch) -> None:
    target = MadePlatformTarget(defect)
    places = (on_chip.Place(0x9010000, 0x1000), on_chip.Place(0x9020000, 0x800))
    monkeypatch.setattr(on_chip, "places_of", lambda name: places)
    monkeypatch.setattr(on_chip, "lines_of", lambda name: [True])
    monkeypatch.setattr(on_chip, "resets", lambda: target.resets[0])
    exists = "passthru.vfio.conform.topics.platform.Path.exists"
    monkeypatch.setattr(exists, lambda path: path.as_posix() == f"/sys/bus/platform/devices/{NAME}")
    found = judged(target)
    assert {name for name, (verdict, _) in found.items() if verdict == "failed"} == FOUND_BY[defect], found
    if defect == "none":
        assert {verdict for verdict, _ in found.values()} == {"passed"}, found


def cells(*numbers: int) -> bytes:
    """A property's cells."""
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def made_tree(root: Path, node: str, bus: str, name: str, reg: bytes) -> Path:
    """A device with a node in a device tree whose root has two cells for addresses and sizes."""
    tree = root / "sys/firmware/devicetree/base"
    place = tree / node
    place.mkdir(parents=True)
    (place / "reg").write_bytes(reg)
    for cell in ("#address-cells", "#size-cells"):
        (tree / cell).write_bytes(cells(2))
    device = root / f"sys/bus/{bus}/devices/{name}"
    device.mkdir(parents=True)
    (device / "of_node").symlink_to(place)
    return place


def test_regions_by_the_device_tree(tmp_path: Path) -> None:
    made_tree(tmp_path, "pl031@9010000", "amba", "9010000.pl031", cells(0, 0x9010000, 0, 0x1000, 1, 0, 0, 0x800))
    first, second = on_chip.Place(0x9010000, 0x1000), on_chip.Place(1 << 32, 0x800)
    assert on_chip.places_of("9010000.pl031", tmp_path) == (first, second)
    assert on_chip.places_of("another", tmp_path) is None


def test_regions_below_a_bus_have_no_physical_address(tmp_path: Path) -> None:
    node = made_tree(tmp_path, "soc/dev@10", "platform", "10.dev", cells(0x10, 0x20))
    for cell in ("#address-cells", "#size-cells"):
        (node.parent / cell).write_bytes(cells(1))
    assert on_chip.places_of("10.dev", tmp_path) == (on_chip.Place(None, 0x20),)


def test_interrupts_that_are_requested(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/interrupts").write_text(
        "           CPU0       CPU1\n"
        " 13:        100        200     GICv3  27 Level     arch_timer\n"
        " 47:          1          0     GICv3 134 Level     vfio-irq[47](7fc00000.copy-engine)\n"
        " 48:          1          0     GICv3 135 Edge      vfio-irq[48](7fc00000.copy-engine)\n"
        " 49:          1          0     GICv3 136 Level     vfio-irq[49](another)\n"
        "IPI0:         1          2       Rescheduling interrupts\n"
    )
    assert on_chip.lines_of("7fc00000.copy-engine", tmp_path) == [True, False]


def test_resets_are_counted_where_the_driver_counts(tmp_path: Path) -> None:
    assert on_chip.resets(tmp_path) is None
    path = tmp_path / "sys/module/vfio_reset_stub/parameters/resets"
    path.parent.mkdir(parents=True)
    path.write_text("12\n")
    assert on_chip.resets(tmp_path) == 12


def test_what_crashes_vfio_fsl_mc_is_not_run() -> None:
    by_name = {test.name: test for test in all_tests()}
    container = made_facts(driver="vfio-fsl-mc", kernel="6.12.95+deb12-arm64", capabilities=frozenset({"fsl-mc"}))
    assert "crashes the kernel" in known_defect(by_name["an-index-that-nobody-enabled-is-disabled"], container)
    assert not known_defect(by_name["a-command-is-answered"], container)


def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    judged(MadePlatformTarget())
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
