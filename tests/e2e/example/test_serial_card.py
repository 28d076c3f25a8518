# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test of a passed-through device looks like: a serial card, asked from inside its guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from passthru.pytest_plugin import Boot, Machine

pytestmark = pytest.mark.asyncio


async def test_the_guest_sees_the_card(card: Machine) -> None:
    address = card.devices["mtty0"].address
    assert "4348:3253" in await card.guest.succeed(f"lspci -n -s {address}")
    assert await card.guest.succeed(f"basename $(readlink /sys/bus/pci/devices/{address}/driver)") == "serial\n"


async def test_its_ports_are_set_up(card: Machine) -> None:
    line = await card.guest.wait_for_line(r"ttyS1 at I/O")
    assert "16550A" in line
    assert "UART: 16550A" in await card.guest.succeed("setserial -g /dev/ttyS1")
    await card.guest.fail("test -e /dev/ttyS99")


@pytest.mark.parametrize("size", [1, 15])
async def test_what_is_sent_comes_back(card: Machine, size: int) -> None:
    found = await card.check("serial-loopback", bytes=size, bursts=2)
    assert "ttyS1" in str(found)


async def test_a_script_of_ours(card: Machine, workplace: str) -> None:
    script = b"#!/bin/sh\nsetserial -g /dev/ttyS1 /dev/ttyS2 | wc -l\n"
    await card.guest.upload(script, f"{workplace}/count", mode=0o755)
    assert await card.guest.succeed(f"{workplace}/count") == "2\n"


async def test_a_card_with_one_port(small_card: Machine) -> None:
    assert "loglevel=8" in await small_card.guest.succeed("cat /proc/cmdline")
    assert small_card.guest.kernel_log.search("ttyS2 at I/O") is None


async def test_the_reset_of_a_machine(boot: Boot) -> None:
    """A guest that only this test uses may be left in any state."""
    machine = await boot("mtty", "guest.cpus=2")
    assert await machine.guest.succeed("nproc") == "2\n"
    await machine.qmp.execute("stop")
    assert (await machine.qmp.execute("query-status"))["status"] == "paused"


@pytest.mark.passthru_needs("qemu>=10.1", "kernel:SERIAL_8250_PCI")
async def test_with_a_qemu_that_is_new_enough(card: Machine) -> None:
    assert "vfio-user-pci" in card.plan.qemu.devices
