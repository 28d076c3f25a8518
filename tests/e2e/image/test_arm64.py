# SPDX-License-Identifier: GPL-2.0-or-later
"""An arm64 rig made on an amd64 machine: its packages and QEMU are arm64's, and what is built for it is built here."""

from __future__ import annotations

import asyncio
import errno
import shlex
from typing import TYPE_CHECKING

import pytest

from passthru.events import tell_nobody
from passthru.image.arch import ARM64
from passthru.image.guest import floor_image
from passthru.image.kbuild.build import build_modules, built_files
from passthru.image.kernel import resolve
from passthru.image.rig import build_rig
from passthru.image.store import Store
from passthru.qemu import find as qemus
from tests.e2e.image.arm_rig import MACHINE, arm_rig
from tests.e2e.image.test_module_builds import fresh_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.image.arm_rig import ArmRig

BOOKWORM, NEWER = "debian:bookworm", "debian:bookworm-backports"
RECIPE = "vfio-platform"
MODULES = ("vfio-platform", "vfio-amba", "vfio-reset-stub")

COMPILED = """\
import asyncio, importlib.util, json, os, socket, sqlite3, ssl
print(os.uname().machine, open(json.__cached__, "rb").read(4) == importlib.util.MAGIC_NUMBER)
"""
BIND = """\
import errno, pathlib, sys
bus, device, driver = sys.argv[1:]
home = pathlib.Path("/sys/bus", bus)
if (home / "devices" / device / "driver").exists():
    (home / "devices" / device / "driver/unbind").write_text(device)
(home / "devices" / device / "driver_override").write_text(driver)
try:
    (home / "drivers" / driver / "bind").write_text(device)
except OSError as error:
    print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize(("spec", "without_reset"), [(BOOKWORM, errno.ENOENT), (NEWER, errno.EINVAL)])
def test_modules_that_are_built_here_are_loaded_there(spec: str, without_reset: int, tmp_path: Path) -> None:
    """The same bytes wherever they are built. A device without a group is bound by no kernel; 6.1 does not even get
    there without a reset driver.
    """
    kernel = resolve(spec, Store(), tell_nobody, arch=ARM64.name)
    before = build_modules(RECIPE, kernel, Store(), tell_nobody)
    store = fresh_store(tmp_path / "cache", "kernel-source", "block", "rig-code")
    image = build_rig(kernel, MODULES, None, {}, store, tell_nobody)
    assert image.missing == {}
    assert image.pins["built"][RECIPE]["compiler"].startswith("gcc")
    made = built_files(build_modules(RECIPE, kernel, store, tell_nobody))
    assert made[0].is_relative_to(tmp_path)
    assert [path.read_bytes() for path in made] == [path.read_bytes() for path in built_files(before)]

    async def look() -> None:
        async with arm_rig(image, Store(), tmp_path) as rig:
            assert await rig.succeed("python3", "-I", "-c", COMPILED) == "aarch64 True\n"
            loaded = {line.split()[0] for line in (await rig.succeed("cat", "/proc/modules")).splitlines()}
            assert {"vfio_platform_base", "vfio_platform", "vfio_amba", "vfio_reset_stub"} <= loaded
            await rig.succeed("test", "-d", "/sys/bus/platform/drivers/vfio-platform")
            assert await _bind(rig) == errno.errorcode[errno.EINVAL]
            await rig.succeed("rmmod", "vfio_reset_stub")
            assert await _bind(rig) == errno.errorcode[without_reset]
            await rig.succeed("modprobe", "vfio_reset_stub")
            assert await _bind(rig) == errno.errorcode[errno.EINVAL]
            assert await rig.succeed("cat", "/sys/module/vfio_reset_stub/parameters/resets") == "0\n"

    asyncio.run(look())


async def _bind(rig: ArmRig) -> str:
    return (await rig.succeed("python3", "-I", "-c", BIND, "amba", "9010000.pl031", "vfio-amba")).strip()


def test_a_guest_in_it(tmp_path: Path) -> None:
    """Debian's arm64 build of QEMU starts, has what was promised for it, and boots a guest under the rig's KVM."""
    store = Store()
    qemu = qemus.find(BOOKWORM, ("vfio-platform",), store, tell_nobody, arch=ARM64.machine, on=ARM64.name)
    guest = resolve(f"{BOOKWORM}/cloud", store, tell_nobody, arch=ARM64.name)
    files = {"kernel": guest.image, "floor": floor_image(store, tell_nobody, arch=ARM64.name)}
    image = build_rig(resolve(BOOKWORM, store, tell_nobody, arch=ARM64.name), (), qemu, files, store, tell_nobody)
    assert image.qemu
    command = shlex.join(("env", *(f"{name}={value}" for name, value in image.qemu.env.items()), *image.qemu.command))
    words = (
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-machine", "virt,gic-version=3", "-accel", "kvm", "-cpu", "host", "-m", "256"),
        *("-kernel", "/passthru/files/kernel", "-initrd", "/passthru/files/floor"),
        *("-append", "console=ttyAMA0 panic=-1 quiet"),
    )

    async def look() -> None:
        async with arm_rig(image, store, tmp_path, machine=f"{MACHINE},virtualization=on") as rig:
            assert f"version {qemu.version} " in await rig.succeed("sh", "-c", f"{command} -version")
            assert '"vfio-platform"' in await rig.succeed("sh", "-c", f"{command} -device help")
            assert "FIRST-LINE" in await rig.succeed("sh", "-c", f"{command} {shlex.join(words)} </dev/null")

    asyncio.run(look())
