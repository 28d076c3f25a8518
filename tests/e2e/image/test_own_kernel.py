# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that passthru builds: what it can do, in a guest, and what can be built for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.events import tell_nobody
from passthru.image.elf import modinfo
from passthru.image.guest import build_guest
from passthru.image.kbuild.build import build_modules, built_files
from passthru.image.kbuild.provide import provide
from passthru.image.kconfig import embedded_config, parse_config, unmet
from passthru.image.modules import closure
from passthru.image.own.recipe import load
from passthru.image.store import Store
from tests.e2e.guest.machine import booted

if TYPE_CHECKING:
    from passthru.image.kernel import Kernel
    from tests.e2e.guest.machine import Parts

HELLO = Path("tests/modules/hello").absolute()
UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"


def test_it_came_out_as_it_is_described(own: Kernel) -> None:
    """Each option has its value, also by what the image tells of itself; modules come with what they depend on."""
    assert own.config is not None
    recipe = load("amd64")
    assert unmet(recipe.config, own.config, recipe.renamed) == []
    assert own.release.endswith("-passthru")
    inside = embedded_config(own.image.read_bytes())
    assert inside is not None and parse_config(inside) == own.config
    wanted = ["mtty", "mdpy", "kvm_amd", "kvm_intel", "igb", "igbvf"]
    names = [module.name for module in closure(own, wanted, tell_nobody)]
    assert names.index("mdev") < names.index("mtty")
    assert {"kvm", *wanted} <= set(names)
    assert closure(own, ["vfio_pci", "iommufd", "virtio_blk", "virtio_console", "erofs", "overlay"], tell_nobody) == []


async def test_a_guest_with_iommufd_and_a_mediated_device(own: Kernel, parts: Parts) -> None:
    """The sample's instance has a character device of its own; what is built for this kernel loads into it."""
    image = build_guest("guest", own, ["mtty", str(HELLO), "passthru_dma"], Store(), tell_nobody)
    assert list(image.built) == ["hello", "passthru_dma"]
    async with booted(replace(parts, kernel=own.image, image=image.path)) as machine:
        guest = machine.guest
        await guest.wait_for_line("hello nobody")
        await guest.succeed("test -c /dev/iommu")
        types = "/sys/class/mdev_bus/mtty/mdev_supported_types"
        assert (await guest.succeed(f"ls {types}")).split() == ["mtty-1", "mtty-2"]
        await guest.succeed(f"echo {UUID} >{types}/mtty-2/create")
        await guest.succeed("test -c /dev/vfio/devices/vfio0 && test -e /sys/kernel/debug || ls -lR /dev/vfio >&2")
        assert UUID in await guest.succeed("ls /sys/class/vfio-dev/vfio0/device/..")
        await guest.succeed(f"echo 1 >/sys/bus/mdev/devices/{UUID}/remove")
        assert (await guest.succeed("cat /sys/module/vfio/parameters/enable_unsafe_noiommu_mode")).strip() == "N"
        await guest.succeed("zcat /proc/config.gz | grep -qx CONFIG_VFIO_PLATFORM=y")
        assert guest.kernel_log.splats == []


def test_what_it_has_is_not_built_and_what_it_lacks_is(own: Kernel) -> None:
    """Also from the source that it was built from itself: a recipe that takes files of the kernel's."""
    assert list(provide(own, ["mtty", "passthru_dma"], Store(), tell_nobody).built) == ["passthru_dma"]
    entry = build_modules("mtty", own, Store(), tell_nobody)
    assert entry.facts["headers"] == "the headers of the own kernel"
    told = modinfo(built_files(entry)[0].read_bytes())
    assert told["vermagic"][0].split()[0] == own.release
