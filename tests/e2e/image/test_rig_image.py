# SPDX-License-Identifier: GPL-2.0-or-later
"""Rigs of real kernels, booted: what their images promise is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.events import tell_nobody
from passthru.image.arch import machine_arch
from passthru.image.guest import floor_image
from passthru.image.kernel import resolve
from passthru.image.rig import build_rig
from passthru.image.store import Store
from passthru.qemu import find as qemus
from tests.e2e.image.own_kernel import own_kernel
from tests.e2e.image.test_module_builds import fresh_store
from tests.e2e.rig.emulated import emulated, rig_plan

if TYPE_CHECKING:
    from passthru.image.rig import RigImage
    from tests.e2e.rig.emulated import EmulatedHost

pytestmark = pytest.mark.skipif(machine_arch() != "amd64", reason="rigs are made on amd64 machines")

BOOKWORM = "debian:bookworm"
SPLIT = "debian:trixie-backports"
"""The kernel's packages are split there, and gcc is another."""

BUILT_IN_OR_LOADED = "for name in {}; do [ -e /sys/module/$name ] || echo $name; done"


def image(store: Store) -> RigImage:
    """A small rig."""
    kernel = resolve(BOOKWORM, store, tell_nobody)
    qemu = qemus.find("auto", ("vfio-pci",), store, tell_nobody)
    if qemu.root is None:
        pytest.skip("the QEMU of this machine is not one of Debian's, and changes with the machine")
    files = {"floor": floor_image(store, tell_nobody)}
    return build_rig(kernel, ["mtty"], qemu, files, store, tell_nobody)


def test_the_same_bytes_in_another_cache(tmp_path: Path) -> None:
    """Block images and initramfs, made anew from the same packages."""
    here, there = image(Store()), image(fresh_store(tmp_path / "cache"))
    assert here.initrd != there.initrd
    assert {drive.serial: drive.path.read_bytes() for drive in here.drives} == {
        drive.serial: drive.path.read_bytes() for drive in there.drives
    }
    assert here.initrd.read_bytes() == there.initrd.read_bytes()
    assert {name: pin["content"] for name, pin in here.pins["drives"].items()} == {
        name: pin["content"] for name, pin in there.pins["drives"].items()
    }


@pytest.mark.parametrize("kernel", [BOOKWORM, SPLIT, "own"])
def test_a_rig_of_each_kind_of_kernel(kernel: str, tmp_path: Path) -> None:
    """With a directory of modules of the user's own, and a kernel parameter of ours."""
    if kernel == "own":
        own_kernel()
    hello = Path("tests/modules/hello").absolute()
    plan = rig_plan((f"host.kernel={kernel}", f'host.modules=["mtty", "{hello}"]', "host.cmdline=passthru.memlock=64"))

    async def look() -> None:
        async with emulated(plan, tmp_path) as host:
            await _look(host)

    asyncio.run(look())


async def _look(host: EmulatedHost) -> None:
    mounts = (await host.succeed("cat", "/proc/mounts")).splitlines()
    filesystems = {line.split()[1]: line.split()[2] for line in mounts}
    assert filesystems["/"] == "overlay"
    assert {filesystems[f"/passthru/{name}"] for name in ("qemu", "files")} == {"erofs"}
    assert {"/dev", "/proc", "/sys", "/run", "/tmp", "/dev/pts", "/dev/shm"} <= filesystems.keys()
    needed = "mtty hello overlay erofs kvm_amd" if "svm" in await host.succeed("cat", "/proc/cpuinfo") else "mtty hello"
    assert await host.succeed("sh", "-c", BUILT_IN_OR_LOADED.format(needed)) == ""
    assert len((await host.succeed("sh", "-c", "ls -d /sys/bus/pci/drivers/igb/0000:*")).split()) == 1
    await host.succeed("/usr/sbin/modprobe", "-n", "-a", "vfio-pci", "vfio_iommu_type1", "virtio_blk", "virtio_pci")
    assert await host.succeed("sh", "-c", "ulimit -l") == "64\n"
    assert "igb" in await host.succeed("sh", "-c", "lspci -k | cat")
    await host.succeed("python3", "-c", "import asyncio, ctypes, json, socket, ssl, sqlite3, subprocess, tomllib")
    compiled = await host.succeed("python3", "-c", "import json, os; print(os.path.exists(json.__cached__))")
    assert compiled == "True\n"
    assert "version" in await host.succeed("sh", "/etc/passthru/warm-up")
