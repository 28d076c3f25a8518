# SPDX-License-Identifier: GPL-2.0-or-later
"""Rigs of arm64 by the QEMUs and kernels of Debian's suites: the hardware on their boards is behind their IOMMUs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from passthru.errors import GuestTrouble, Unusable
from passthru.host.events import ChildStarted
from passthru.host.rig_devices import NAME
from tests.e2e.rig.emulated import emulated, rig_plan

BOARD = Path(__file__).with_name("board.toml")
CLOCK, COPIER = "9010000.pl031", "7fc00000.copy-engine"
WITH_COPIER = ("host.iommu=ram-smmuv2", "host.hardware.copier={model='copy-engine'}")
IDENTIFICATION = "0x01004350"
"""What the copy engine's first register holds; see its page."""


@pytest.mark.parametrize(
    ("emulator", "kernel", "overrides"),
    [
        ("bookworm", "bookworm", ()),  # QEMU 7.2, Linux 6.1
        ("bookworm-backports", "bookworm-backports", WITH_COPIER),  # QEMU 10.0, Linux 6.12
        ("sid", "bookworm", WITH_COPIER),  # the newest QEMU
    ],
)
async def test_hardware_on_the_board_is_behind_the_iommu(
    tmp_path: Path, emulator: str, kernel: str, overrides: tuple[str, ...]
) -> None:
    named = (f"host.emulator=debian:{emulator}", f"host.kernel=debian:{kernel}", *overrides)
    plan = await asyncio.to_thread(rig_plan, named, BOARD)
    async with emulated(plan, tmp_path) as host:
        assert host.address("clock") == CLOCK
        await host.succeed("ls", f"/sys/bus/amba/devices/{CLOCK}/iommu_group/devices/{CLOCK}")
        (iommu,) = (await host.succeed("ls", "/sys/class/iommu")).split()
        assert iommu == ("smmu.0x000000007fe00000" if overrides else "smmu3.0x0000000009050000")
        if overrides:
            assert host.address("copier") == COPIER
            await host.succeed("ls", f"/sys/bus/platform/devices/{COPIER}/of_node/iommus")
            assert await host.succeed("devmem", "0x7fc00000") == f"{IDENTIFICATION}\n"


async def test_the_death_of_the_devices_in_its_ram_is_told(tmp_path: Path) -> None:
    plan = await asyncio.to_thread(rig_plan, WITH_COPIER, BOARD)
    with pytest.raises(GuestTrouble, match="the process of the rig's shared RAM was killed by SIGKILL") as caught:
        async with emulated(plan, tmp_path) as host:
            (pid,) = (event.pid for event in host.told if isinstance(event, ChildStarted) and event.name == NAME)
            os.kill(pid, signal.SIGKILL)
            await host.rig.troubles.guard(asyncio.sleep(30))
    assert caught.value.culprit == "device"


async def test_a_board_without_a_second_serial_port(tmp_path: Path) -> None:
    named = ("host.emulator=debian:bookworm", "host.hardware.line={device='pl011'}")
    with pytest.raises(Unusable, match=r"uart\.dtsi:\d+ names /pl011@9040000, and the device tree of QEMU 7\.2"):
        await asyncio.to_thread(rig_plan, named, BOARD)
