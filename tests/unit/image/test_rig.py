# SPDX-License-Identifier: GPL-2.0-or-later
"""The images of a rig from made packages: what is in them, what makes them new, and what is refused."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.events import tell_nobody
from passthru.image.rig import build_rig
from passthru.resources import directory
from tests.unit.image import made_rig
from tests.unit.image.made import RELEASE, kernel_with, module
from tests.unit.image.made_rig import in_image
from tests.unit.image.test_cpio import Read, read

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.image.rig import RigImage
    from passthru.image.store import Store
    from passthru.qemu.binary import Qemu

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="rigs are made on amd64 machines")

BUILTIN = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko\nkernel/fs/overlayfs/overlay.ko\n"


@pytest.fixture(autouse=True)
def _little_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that is compiled at once, in place of passthru's own."""
    code = {"passthru/__init__.py": b"", "passthru/worker/__main__.py": b"print()\n"}
    monkeypatch.setattr("passthru.image.rig_initrd.own_files", lambda: code)


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Modules of a kernel that has some of what a rig needs built in."""
    root = tmp_path / "modules"
    files = {
        "block/virtio_blk.ko": module("virtio_blk"),
        "fs/erofs.ko": module("erofs", depends="crc"),
        "lib/crc.ko": module("crc"),
        "drivers/vfio-pci.ko": module("vfio_pci", depends="vfio"),
        "drivers/vfio.ko": module("vfio"),
        "drivers/asked-for.ko": module("asked_for", alias="pci:v00001234d*"),
        "drivers/unwanted.ko": module("unwanted"),
    }
    for name, data in files.items():
        (root / "kernel" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "kernel" / name).write_bytes(data)
    (root / "modules.builtin").write_text(BUILTIN)
    return root


class Rigs:
    """Builds rigs of one kernel and one recipe."""

    def __init__(self, store: Store, home: Path, modules: Path) -> None:
        self.store = store
        self.recipe = made_rig.recipe(home)
        made_rig.fetched(store)
        self.qemu: Qemu | None = made_rig.debian_qemu(store)
        self.kernel: Kernel = replace(kernel_with(modules, config={"PCI": "y"}), image=home / "bzImage")

    def build(self, modules: Sequence[str] = (), files: Mapping[str, Path] | None = None) -> RigImage:
        """One with these modules and files."""
        return build_rig(self.kernel, modules, self.qemu, files or {}, self.store, tell_nobody, recipe=str(self.recipe))

    def initrd(self, *modules: str, **files: Path) -> dict[str, Read]:
        """What its initramfs holds."""
        return read(self.build(modules, files).initrd.read_bytes())


@pytest.fixture
def rigs(store: Store, tmp_path: Path, modules: Path) -> Rigs:
    """With made packages."""
    return Rigs(store, tmp_path / "recipe", modules)


def test_the_initramfs(rigs: Rigs) -> None:
    """What runs first, the modules for the drives, those for modprobe, passthru's code, and what is to be mounted."""
    found = rigs.initrd("asked-for")
    home = f"layer/usr/lib/modules/{RELEASE}"
    there = f"/lib/modules/{RELEASE}/kernel"
    settings = {name: found[f"layer/etc/passthru/{name}"].data.decode().splitlines() for name in _SETTINGS}
    assert found["init"].data == b"#!/bin/sh\n# init\n"
    assert found["layer/up"].mode & 0o111
    assert found["bin/busybox"].mode & 0o111
    assert found["lib"].data == b"layer/usr/lib"
    assert settings["first-modules"] == [f"{there}/{name}.ko" for name in ("block/virtio_blk", "lib/crc", "fs/erofs")]
    assert settings["modules"] == ["asked_for"]
    assert settings["drives"] == ["qemu /passthru/qemu"]
    assert settings["warm-up"][0].endswith("/passthru/qemu/usr/share/qemu -version")
    assert {name.rpartition("/")[2] for name in found if name.endswith(".ko")} == {
        *("virtio_blk.ko", "crc.ko", "erofs.ko", "vfio.ko", "vfio-pci.ko", "asked-for.ko")
    }
    assert b"kernel/drivers/vfio-pci.ko: kernel/drivers/vfio.ko\n" in found[f"{home}/modules.dep"].data
    assert b"kernel/virtio_pci.ko\n" in found[f"{home}/modules.builtin"].data
    assert "layer/passthru/code/passthru/worker/__main__.py" in found
    assert any(name.startswith("layer/passthru/code/passthru/worker/__pycache__/") for name in found)


_SETTINGS = ("first-modules", "modules", "drives", "warm-up")


def test_the_drives(rigs: Rigs, tmp_path: Path) -> None:
    """The base image with bytecode and applets, the QEMU without what boots no PC, and the files as they are."""
    (tmp_path / "run").write_text("#!/bin/sh\n")
    (tmp_path / "run").chmod(0o700)
    (tmp_path / "many/below").mkdir(parents=True)
    (tmp_path / "many/below/data").write_text("data")
    (tmp_path / "many/link").symlink_to("below/data")
    image = rigs.build(files={"guest-kernel": tmp_path / "run", "many": tmp_path / "many"})
    drives = {drive.serial: in_image(drive.path) for drive in image.drives}
    assert list(drives) == ["base", "qemu", "files"]
    assert drives["base"]["bin"] == "link usr/bin"
    assert drives["base"]["usr/bin/cat"] == "link busybox"
    assert drives["base"]["usr/lib/python3.11/here.py"] == "file HERE = 'amd64'\n"
    assert any("python3.11/__pycache__/here.cpython" in name for name in drives["base"])
    assert "init" not in drives["base"]
    assert drives["qemu"]["usr/share/qemu/bios-256k.bin"] == "file bios"
    assert drives["qemu"]["usr/share/qemu/bios.bin"] == "link bios-256k.bin"
    assert "usr/share/qemu/skiboot.lid" not in drives["qemu"]
    assert drives["files"] == {
        "guest-kernel": "exec #!/bin/sh\n",
        "many": "dir",
        "many/below": "dir",
        "many/below/data": "file data",
        "many/link": "link below/data",
    }
    mounted = read(image.initrd.read_bytes())["layer/etc/passthru/drives"].data
    assert mounted == b"qemu /passthru/qemu\nfiles /passthru/files\n"


def test_the_qemu_as_it_is_started_there(rigs: Rigs) -> None:
    """The paths of the cache are no more; what it can do is as before."""
    there = rigs.build().qemu
    assert there
    assert rigs.qemu
    assert there.command[0] == "/passthru/qemu/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    assert not any(str(rigs.store.root) in word for word in (*there.command, *there.env.values()))
    assert (there.version, there.identity, there.root) == (rigs.qemu.version, rigs.qemu.identity, rigs.qemu.root)


def test_what_makes_a_part_new(rigs: Rigs, tmp_path: Path) -> None:
    """Each part by itself, by what it is made from."""
    file = tmp_path / "file"
    file.write_text("one")

    def parts() -> dict[str, Path]:
        image = rigs.build(["asked-for"], {"file": file})
        return {"initrd": image.initrd, **{drive.serial: drive.path for drive in image.drives}}

    seen = [parts()]

    def changed() -> set[str]:
        seen.append(parts())
        return {name for name in seen[-1] if seen[-1][name] != seen[-2][name]}

    assert changed() == set()
    file.touch()
    assert changed() == set()
    file.write_text("two")
    assert changed() == {"files"}
    (rigs.recipe.parent / "own/up").write_text("#!/bin/sh\n# changed\n")
    assert changed() == {"initrd"}
    assert rigs.kernel.modules
    (rigs.kernel.modules / "kernel/drivers/vfio.ko").write_bytes(module("vfio", author="me"))
    assert changed() == {"initrd"}
    rigs.recipe.write_text(made_rig.RECIPE.replace('"proc"', '"proc", "sys"'))
    assert changed() == {"initrd", "base"}


def test_pins_settle_the_packages(rigs: Rigs) -> None:
    """What a lock file kept is taken, whatever the suite means today."""
    first = rigs.build()
    made_rig.entry(rigs.store, "tool=2", "bookworm amd64 tool", {"usr/bin/python3": "", "usr/bin/busybox": b""})
    again = build_rig(rigs.kernel, (), rigs.qemu, {}, rigs.store, tell_nobody, recipe=str(rigs.recipe), pins=first.pins)
    assert again.drives == first.drives
    assert again.initrd == first.initrd


def test_a_kernel_that_cannot_run_a_rig(rigs: Rigs) -> None:
    """What it lacks is named, with what to do."""
    assert rigs.kernel.modules
    (rigs.kernel.modules / "kernel/fs/erofs.ko").unlink()
    with pytest.raises(Unusable, match=r"made \(6.9.0-made\) cannot run a rig, since it lacks CONFIG_EROFS_FS; set it"):
        rigs.build()
    rigs.kernel = replace(rigs.kernel, modules=None, config={"VIRTIO_PCI": "y", "EROFS_FS": "m"})
    with pytest.raises(Unusable, match="CONFIG_VIRTIO_BLK, CONFIG_VIRTIO_CONSOLE, CONFIG_EROFS_FS, CONFIG_OVERLAY_FS"):
        rigs.build()


def test_a_kernel_with_everything_built_in(rigs: Rigs) -> None:
    """A bare image needs no modules."""
    options = ("VIRTIO_PCI", "VIRTIO_BLK", "VIRTIO_CONSOLE", "EROFS_FS", "OVERLAY_FS")
    rigs.kernel = replace(rigs.kernel, modules=None, config=dict.fromkeys(options, "y"))
    found = rigs.initrd()
    assert found["layer/etc/passthru/first-modules"].data == b""
    assert not any(name.endswith(".ko") for name in found)


def test_a_rig_without_a_guest(rigs: Rigs) -> None:
    """No QEMU, and nothing that would start one."""
    rigs.qemu = None
    image = rigs.build()
    assert image.qemu is None
    assert [drive.serial for drive in image.drives] == ["base"]
    assert read(image.initrd.read_bytes())["layer/etc/passthru/warm-up"].data == b""


def test_another_architecture(rigs: Rigs) -> None:
    """Its packages and its QEMU, with bytecode by the same Python of this machine, which a lock file keeps too."""
    rigs.kernel = replace(rigs.kernel, arch="arm64")
    made_rig.fetched(rigs.store, "arm64")
    rigs.qemu = made_rig.debian_qemu(rigs.store, arch="arm64")
    image = rigs.build()
    assert image.qemu
    base, qemu = (in_image(drive.path) for drive in image.drives)
    assert base["usr/lib/python3.11/here.py"] == "file HERE = 'arm64'\n"
    assert any("python3.11/__pycache__/here.cpython" in name for name in base)
    assert any(name.endswith("/qemu-system-x86_64") for name in qemu)
    assert image.pins["packages"]["key"]["arch"] == "arm64"
    assert image.pins["python"]["key"]["arch"] == "amd64"
    made_rig.entry(rigs.store, "tool=2", "bookworm amd64 tool", {"usr/lib/python3.13/here.py": ""})
    again = build_rig(rigs.kernel, (), rigs.qemu, {}, rigs.store, tell_nobody, recipe=str(rigs.recipe), pins=image.pins)
    assert (again.drives, again.initrd) == (image.drives, image.initrd)
    with pytest.raises(Unusable, match=r"is python3.11 for arm64, and python3.13 for amd64, so its bytecode cannot"):
        rigs.build()


def test_a_qemu_of_another_architecture(rigs: Rigs) -> None:
    """What runs here does not run there, and the other way round."""
    made_rig.fetched(rigs.store, "arm64")
    kernel = rigs.kernel
    rigs.kernel = replace(kernel, arch="arm64")
    with pytest.raises(Unusable, match=r"is a program for amd64 and cannot run in a rig of arm64; name debian:SUITE"):
        rigs.build()
    rigs.qemu = made_rig.a_qemu(("/usr/bin/qemu-system-aarch64",))
    with pytest.raises(Unusable, match=r"is a program for amd64 and cannot run in a rig of arm64"):
        rigs.build()
    rigs.kernel, rigs.qemu = kernel, made_rig.debian_qemu(rigs.store, arch="arm64")
    with pytest.raises(Unusable, match=r"is a program for arm64 and cannot run in a rig of amd64"):
        rigs.build()


def test_an_architecture_that_no_rig_has(rigs: Rigs) -> None:
    """It is told before anything is made."""
    rigs.kernel = replace(rigs.kernel, arch="riscv64")
    with pytest.raises(Unusable, match=r"rigs are amd64 or arm64, and made is riscv64; take another kernel"):
        rigs.build()


@pytest.mark.parametrize(
    ("name", "path", "said"),
    [
        ("a/b", "there", "no name for a file in a rig"),
        ("x", "nosuch", "nosuch cannot be brought into the rig: No such file"),
    ],
)
def test_files_that_cannot_be_brought(rigs: Rigs, tmp_path: Path, name: str, path: str, said: str) -> None:
    """Name and path are told."""
    (tmp_path / "there").write_text("")
    with pytest.raises(UserMistake, match=said):
        rigs.build(files={name: tmp_path / path})


def test_an_image_that_cannot_be_made(rigs: Rigs, tmp_path: Path) -> None:
    """What mkfs.erofs says is told, and nothing half-made stays."""
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match=r"the files for the rig cannot be made: mkfs.erofs says 'mkfs: refused'"):
        rigs.build(files={"REFUSED": tmp_path / "file"})
    assert list((rigs.store.root / "scratch").iterdir()) == []


@pytest.mark.parametrize("name", ["init", "up"])
def test_what_runs_in_a_rig_is_good_shell(name: str) -> None:
    """As far as a shell can tell without running it."""
    subprocess.run(["sh", "-n", directory("images") / "rig" / name], check=True, timeout=20)
