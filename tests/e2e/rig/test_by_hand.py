# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the local host by hand, inside a rig: what is bound or made stays until it is undone by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.worker.kill_tests import assert_same

if TYPE_CHECKING:
    from tests.e2e.rig.local import Local

pytestmark = pytest.mark.asyncio(loop_scope="session")

UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


def of(snapshot: dict[str, Any], address: str) -> tuple[str | None, str | None]:
    """The driver and the override of a device."""
    return snapshot[address]["driver"], snapshot[address]["driver_override"]


async def test_a_device_of_a_driver_is_bound_and_given_back(inside: Local) -> None:
    before = await inside.rig.snapshot()
    address = f"0000:{inside.rig.address('serial')}"
    assert of(before, address) == ("serial", "(null)")
    bound = await inside.succeed("bind", address)
    assert f"{address} is bound to vfio-pci; before, its driver was serial" in bound
    assert of(await inside.rig.snapshot(), address) == ("vfio-pci", "vfio-pci")
    given_back = await inside.succeed("unbind", address)
    assert f"the driver of {address} is serial" in given_back
    assert_same(before, await inside.rig.snapshot(), "it was given back")


async def test_an_mdev_is_made_and_removed(inside: Local) -> None:
    before = await inside.rig.snapshot()
    assert UUID in await inside.succeed("mdev", "create", "mtty", "mtty-2", "--uuid", UUID)
    assert (await inside.rig.snapshot())["mdevs"] == [UUID]
    again = await inside("mdev", "create", "mtty", "mtty-1", "--uuid", UUID)
    assert again.status == 2, again.stdout.decode()
    assert UUID in again.stdout.decode()
    await inside.succeed("mdev", "remove", UUID)
    assert_same(before, await inside.rig.snapshot(), "it was removed")
