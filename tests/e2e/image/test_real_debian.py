# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's real packages: kernels of three generations and the guest image, made twice and booted."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import tell_nobody
from passthru.image import cpio, sysroot
from passthru.image.debian import packages_root, pins_of
from passthru.image.guest import build_guest, floor_image
from passthru.image.kernel import Kernel, resolve
from passthru.image.recipe import load
from passthru.image.store import Store
from passthru.qemu.find import find
from passthru.resources import directory

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.qemu.binary import Qemu

SPECS = ["debian:bookworm/cloud", "debian:bookworm-backports", "debian:sid/cloud"]
MODULES = ["virtio_pci", "virtio-rng"]
SECONDS = 120.0

PROBE = """#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
export PATH=/usr/sbin:/usr/bin
mount -t proc p /proc
mount -t sysfs s /sys
while read -r module; do /usr/sbin/insmod "$module" || echo "INSMOD FAILED $module"; done </etc/passthru/modules
echo BEGIN
echo "loaded: $(/usr/bin/lsmod | grep -c ^virtio_rng)"
/usr/sbin/modprobe -r virtio_rng && echo "removed: $(/usr/bin/lsmod | grep -c ^virtio_rng)"
/usr/sbin/modprobe virtio-rng && echo "again: $(/usr/bin/lsmod | grep -c ^virtio_rng)"
/usr/sbin/modprobe nosuch 2>/dev/null || echo "no module nosuch"
/usr/sbin/modinfo virtio_rng | grep ^description
busybox rmmod virtio_rng && busybox modprobe virtio_rng && echo "busybox: $(lsmod | grep -c ^virtio_rng)"
lspci -nn
setserial -V 2>&1
setpci -s 00:00.0 VENDOR_ID
echo END
exec busybox poweroff -f
"""


@pytest.fixture(scope="module")
def store() -> Store:
    """The cache of who runs the tests: what is in it is not fetched again."""
    return Store()


@pytest.fixture(scope="module")
def qemu(store: Store) -> Qemu:
    """Any QEMU for x86-64."""
    return find("auto", [], store, tell_nobody)


@pytest.fixture(params=SPECS, scope="module")
def kernel(request: pytest.FixtureRequest, store: Store) -> Kernel:
    """Plain modules of 6.1, compressed ones of 6.12, and the split packages of 7.x."""
    return resolve(str(request.param), store, tell_nobody, ["SERIAL_8250_PCI", "CONFIG_PCI=y"])


def boot(qemu: Qemu, kernel: Kernel, image: Path, *devices: str) -> str:
    """All that a guest wrote until it powered off."""
    argv = [*qemu.command, "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256", "-nodefaults", "-display", "none"]
    argv += ["-no-reboot", "-serial", "stdio", "-kernel", str(kernel.image), "-initrd", str(image), *devices]
    argv += ["-append", "console=ttyS0 quiet panic=-1"]
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, env=dict(qemu.env), check=False
    )
    return done.stdout.decode(errors="replace")


def test_a_kernel_says_what_it_is(kernel: Kernel, store: Store) -> None:
    """Its configuration and its modules are known, and its pin brings it back."""
    assert kernel.release in str(kernel.image)
    assert kernel.has("VFIO_PCI") is True
    assert kernel.has("NOSUCH") is False
    assert kernel.modules is not None
    assert (kernel.modules / "modules.builtin").is_file()
    assert kernel.pin is not None
    assert resolve(kernel.source, store, tell_nobody, pin=kernel.pin) == kernel
    with pytest.raises(Unusable, match="lacks CONFIG_SAMPLES"):
        resolve(kernel.source, store, tell_nobody, ["SAMPLES"])


def test_an_image_is_the_same_each_time(kernel: Kernel, store: Store) -> None:
    """Made anew from the same packages it has the same bytes."""
    first = build_guest("guest", kernel, MODULES, store, tell_nobody)
    content = first.path.read_bytes()
    shutil.rmtree(first.path.parent.parent)
    again = build_guest("guest", kernel, MODULES, store, tell_nobody, packages_pin=first.packages_pin)
    assert again.path.read_bytes() == content
    assert again.pin == first.pin
    assert len(content) < 16_000_000


def test_a_module_that_no_kernel_has(kernel: Kernel, store: Store) -> None:
    """mbochs is a sample, which Debian does not build, and no recipe of ours either."""
    with pytest.raises(Unusable, match="has no module mbochs"):
        build_guest("guest", kernel, ["mbochs"], store, tell_nobody)


def test_the_guest_s_tools_work(kernel: Kernel, store: Store, qemu: Qemu, tmp_path: Path) -> None:
    """kmod and busybox both load modules, lspci knows names, setserial and setpci start."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own/init").write_text(PROBE)
    recipe = tmp_path / "probe.toml"
    own = (directory("images") / "guest.toml").read_text()
    recipe.write_text(own.partition("[own]")[0] + '[own]\n"own/init" = "init"\n')
    image = build_guest(str(recipe), kernel, MODULES, store, tell_nobody)
    said = boot(qemu, kernel, image.path, "-device", "virtio-rng-pci")
    assert "INSMOD FAILED" not in said
    _, begin, rest = said.replace("\r", "").partition("BEGIN\n")
    told, end, _ = rest.partition("END\n")
    assert begin, said
    assert end, said
    assert "loaded: 1\nremoved: 0\nagain: 1\nno module nosuch\n" in told
    assert "description:    Virtio random number driver" in told
    assert "busybox: 1" in told
    assert "Red Hat, Inc. Virtio RNG [1af4:1005]" in told
    assert "setserial version" in told
    assert "8086" in told.splitlines()


def test_the_floor_boots(store: Store, qemu: Qemu, kernel: Kernel) -> None:
    """Its first line comes, and it powers off by itself."""
    assert "FIRST-LINE" in boot(qemu, kernel, floor_image(store, tell_nobody))


def test_further_packages_come_into_the_image(store: Store, qemu: Qemu, tmp_path: Path) -> None:
    """With their libraries, and without what nobody reads in a guest."""
    kernel = resolve(SPECS[0], store, tell_nobody)
    image = build_guest("guest", kernel, [], store, tell_nobody, packages=["ethtool"])
    listed = image.path.read_bytes()
    assert b"usr/sbin/ethtool\0" in listed
    assert b"libmnl.so.0\0" in listed
    assert b"usr/share/doc/ethtool\0" not in listed


def test_the_applets_are_those_that_busybox_tells(store: Store) -> None:
    """They are read from the binary, and the binary itself is asked here."""
    recipe = load("guest")
    root = packages_root(recipe.suite, sorted(recipe.packages), "amd64", store, tell_nobody)
    busybox = root.path / "usr/bin/busybox"
    try:
        told = subprocess.run(
            [busybox, "--list"], capture_output=True, text=True, timeout=30, check=True
        ).stdout.split()
    except OSError:
        pytest.skip("this machine does not run amd64 programs")
    assert sysroot.applets(busybox.read_bytes()) == told


def test_another_architecture(store: Store) -> None:
    """Packages for arm64 come on any machine."""
    root = packages_root("bookworm", ["setserial"], "arm64", store, tell_nobody)
    nodes = {node.path: node for node in sysroot.take(root.path, ["usr/bin/setserial"])}
    assert "usr/lib/aarch64-linux-gnu/libc.so.6" in nodes
    assert nodes["usr/bin/setserial"].mode == cpio.file("x", b"", executable=True).mode


def test_a_small_closure_in_an_empty_cache(tmp_path: Path) -> None:
    """From nothing to an unpacked root, and once more by its exact versions."""
    store = Store(tmp_path / "cache")
    root = packages_root("bookworm", ["setserial"], "amd64", store, tell_nobody)
    assert (root.path / "usr/bin/setserial").is_file()
    assert (root.path / "lib64/ld-linux-x86-64.so.2").is_symlink()
    versions = pins_of(root)
    assert "libc6" in versions
    alone = packages_root(
        "bookworm", ["setserial"], "amd64", store, tell_nobody, pins={"setserial": versions["setserial"]}
    )
    assert pins_of(alone) == {"setserial": versions["setserial"]}
