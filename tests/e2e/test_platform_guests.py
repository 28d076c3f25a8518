# SPDX-License-Identifier: GPL-2.0-or-later
"""Platform devices of rigs in guests, as a user runs them: on both kernels, by QEMUs that have them and one without."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.harness import Command

NEWER_GUEST = ("--set", "guest.kernel=debian:bookworm-backports/cloud")
WITH_7_2 = ("--set", "guest.qemu=debian:bookworm")


@pytest.mark.parametrize(
    ("scenario", "options"),
    [
        ("platform-uart", ()),
        ("platform-rtc", (*WITH_7_2, *NEWER_GUEST)),
        ("platform-6.12", ()),  # all three in one guest
    ],
)
def test_a_guest_uses_what_it_is_given(passthru: Command, scenario: str, options: tuple[str, ...]) -> None:
    ended = passthru("run", scenario, *options)
    assert ended.status == 0, ended
    assert passthru.left_running() == []


def test_a_run_directory_repeats_its_run(passthru: Command) -> None:
    first = passthru("run", "platform-copy-engine")
    assert first.status == 0, first
    again = passthru("run", str(first.directory))
    assert again.status == 0, again


@pytest.mark.parametrize(
    ("defect", "said"),
    [
        ("page-wrap", "bytes from other RAM to byte 4093 of a page"),
        ("lost-interrupt", "interrupts raised on its line: expected the counts"),
    ],
)
def test_defects_of_a_dma_engine_are_found_in_the_guest(passthru: Command, defect: str, said: str) -> None:
    ended = passthru("run", "platform-copy-engine", "--set", f"host.hardware.copier.options={{defect='{defect}'}}")
    assert ended.status == 1, ended
    assert said in str(ended.findings())


def test_a_newer_qemu_has_no_such_devices(passthru: Command) -> None:
    ended = passthru("run", "platform-rtc", "--set", "guest.qemu=debian:sid")
    assert ended.status == 125, ended
    assert "has no vfio-platform, which QEMU had up to 10.1" in ended.stdout


def test_an_amba_device_is_refused_before_anything_starts(passthru: Command) -> None:
    amba = ("--set", "host.hardware.clock.place=amba", "--set", "device.clock0.bus=amba")
    ended = passthru("run", "platform-rtc", *amba)
    assert ended.status == 2, ended
    assert 'device.clock0 is on the bus "amba", and QEMU gives no guest such a device' in ended.stderr
    assert ended.events("worker-started") == []
