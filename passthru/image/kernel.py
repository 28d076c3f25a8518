# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels: one of Debian's suites, the one that passthru builds, a bzImage, or a kernel build tree."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable, UserMistake
from passthru.events import Note
from passthru.image.arch import ARCHES
from passthru.image.debian import packages_root, pins_of
from passthru.image.kconfig import embedded_config, parse_config
from passthru.image.own import provide as own
from passthru.image.own.recipe import SPEC
from passthru.image.unpacking import decompress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.events import Tell
    from passthru.image.store import Entry, Store

_PACKAGES = r"linux-(image|binary|modules|base)-.+"  # 7.x is split into these four; without what only boots a disk
_BANNER = re.compile(rb"Linux version ([\w.+~-]+) \(")


@dataclass(frozen=True)
class Kernel:
    """A bootable kernel.

    ``config`` maps option names without ``CONFIG_`` to their values, None if the kernel does not tell it. ``modules``
    is the directory that holds modules.builtin and, somewhere below, the modules; None if there is none.
    ``identity`` is the sha256 of the image; ``pin`` what a lock file keeps (None for a kernel of the user's own).
    """

    image: Path
    release: str
    config: Mapping[str, str] | None = field(repr=False)
    modules: Path | None
    arch: str
    source: str
    identity: str
    pin: Mapping[str, Any] | None = field(default=None, repr=False)

    def has(self, option: str) -> bool | None:
        """Whether an option (``VIRTIO_PCI``, ``CONFIG_VIRTIO_PCI``, ``PCI=y``) is set; None if it cannot be told."""
        if self.config is None:
            return None
        name, _, value = option.removeprefix("CONFIG_").partition("=")
        return self.config.get(name) == value if value else self.config.get(name, "n") != "n"


def resolve(
    spec: str,
    store: Store,
    tell: Tell,
    needs: Sequence[str] = (),
    *,
    arch: str = "amd64",
    pin: Mapping[str, Any] | None = None,
    update: bool = False,
) -> Kernel:
    """The kernel that ``spec`` names: ``debian:SUITE[/cloud]``, ``own``, a bzImage, or a kernel build tree.

    ``needs`` are CONFIG options (y or m, or as written: ``PCI=y``); Unusable names those that are missing. ``pin`` is
    a Kernel.pin of a lock file: exactly that one, whatever the suite means today; ``update`` asks the mirror anew.
    """
    if spec.startswith("debian:"):
        kernel = _of_debian(spec, store, tell, arch, pin, update)
    elif spec == SPEC:
        root = own.own_kernel(arch, store, tell, pin=pin, update=update)
        kernel = _of_root(root, spec, arch)
    elif re.match(r"[a-z]+:", spec) and not Path(spec).exists():
        raise UserMistake(
            f"{spec!r} names no kernel; write debian:SUITE, debian:SUITE/cloud, own, a bzImage or a build tree"
        )
    else:
        kernel = _of_path(Path(spec).expanduser(), spec, arch, store, tell)
    _require(kernel, needs, tell)
    return kernel


def _require(kernel: Kernel, needs: Sequence[str], tell: Tell) -> None:
    if needs and kernel.config is None:
        options = ", ".join(needs)
        tell(
            Note(
                f"the kernel {kernel.image} does not tell its configuration; that it has {options} is taken for granted"
            )
        )
    missing = [f"CONFIG_{need.removeprefix('CONFIG_')}" for need in needs if kernel.has(need) is False]
    if missing:
        raise Unusable(
            f"the kernel {kernel.source} ({kernel.release}) lacks {', '.join(missing)}, which the scenario needs; set "
            f"{'them' if len(missing) > 1 else 'it'} and build it anew, or take another kernel with --kernel"
        )


def _of_debian(spec: str, store: Store, tell: Tell, arch: str, pin: Mapping[str, Any] | None, update: bool) -> Kernel:
    suite, _, flavour = spec.removeprefix("debian:").partition("/")
    if flavour not in ("", "cloud", "rt"):
        raise UserMistake(
            f"{spec!r}: {flavour!r} is no flavour of Debian's kernels; write debian:{suite} or debian:{suite}/cloud"
        )
    package = "-".join(word for word in ("linux-image", flavour, arch) if word)
    root = store.pinned(pin) if pin else None
    if root is None:
        root = packages_root(
            suite,
            [package],
            arch,
            store,
            tell,
            only=_PACKAGES,
            what=f"the kernel {spec}",
            update=update,
            pins=pins_of(pin) if pin else None,
        )
    return _of_root(root, spec, arch)


def _of_root(root: Entry, spec: str, arch: str) -> Kernel:
    images = [*root.path.glob("boot/vmlinuz-*"), *root.path.glob("usr/lib/modules/*/vmlinuz")]
    if not images:
        raise Unusable(f"Debian's packages for {spec} hold no kernel image; take another suite")
    image = max(images)
    release = image.parent.name if image.name == "vmlinuz" else image.name.removeprefix("vmlinuz-")
    modules = root.path / "usr/lib/modules" / release
    configs = (root.path / f"boot/config-{release}", modules / "config")
    return _kernel(image, spec, arch, release, configs, modules, pin=root.pin)


def _of_path(path: Path, spec: str, arch: str, store: Store, tell: Tell) -> Kernel:
    path = path.absolute()
    if path.is_dir():
        return _of_build_tree(path, spec, arch)
    release = _release(path, arch)
    beside = [path.parent.parent / "lib/modules" / release, path.parent.parent / "usr/lib/modules" / release]
    if path.name == "vmlinuz":
        beside.insert(0, path.parent)
    found = next((place for place in beside if release and (place / "modules.builtin").is_file()), None)
    configs = [path.with_name(f"config-{release}")] + ([found / "config"] if found else [])
    kernel = _kernel(path, spec, arch, release or "unknown", configs if release else (), found)
    if kernel.config is not None:
        return kernel
    return replace(kernel, config=_embedded(kernel, store, tell))


def _of_build_tree(tree: Path, spec: str, arch: str) -> Kernel:
    names = ARCHES[arch].images
    image = next((tree / name for name in names if (tree / name).is_file()), None)
    release_file = tree / "include/config/kernel.release"
    if image is None:
        known = (tree / "Kconfig").is_file() or (tree / ".config").is_file()
        if known:
            raise Unusable(f"the kernel build tree {spec} holds no {names[0]}; build it there with `make` first")
        raise Unusable(
            f"{spec} is a directory but no kernel build tree: it holds no {names[0]}; name a built tree or "
            f"its {Path(names[0]).name}"
        )
    release = release_file.read_text().strip() if release_file.is_file() else _release(image, arch) or "unknown"
    return _kernel(image, spec, arch, release, (tree / ".config",), tree)


def _kernel(
    image: Path,
    spec: str,
    arch: str,
    release: str,
    configs: Sequence[Path],
    modules: Path | None,
    *,
    pin: Mapping[str, Any] | None = None,
) -> Kernel:
    data = _read(image)
    _check_bootable(data, spec, arch)
    text = next((config.read_bytes() for config in configs if config.is_file()), None)
    return Kernel(
        image=image,
        release=release,
        config=None if text is None else parse_config(text),
        modules=modules,
        arch=arch,
        source=spec,
        identity=hashlib.sha256(data).hexdigest(),
        pin=pin,
    )


def _embedded(kernel: Kernel, store: Store, tell: Tell) -> dict[str, str] | None:
    """The configuration inside the image; looked for once, since the whole kernel is decompressed for it."""

    def build(tree: Path) -> None:
        data = decompress(_read(kernel.image), str(kernel.image))
        (tree / "config").write_bytes(embedded_config(data) or b"")

    key = {"image": kernel.identity}
    entry = store.entry("kernel-config", key, build, tell, what=f"the configuration of {kernel.source}")
    return parse_config((entry.path / "config").read_bytes()) or None


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise Unusable(
            f"the kernel {image} cannot be read: {error.strerror}; name a bzImage, a kernel build tree or debian:SUITE"
        ) from error


def _release(image: Path, arch: str) -> str:
    """The release that an image tells, '' if it tells none.

    A bzImage has it in its header (Documentation/arch/x86/boot.rst), an Image in its banner (init/version.c).
    """
    data = _read(image)
    _check_bootable(data, str(image), arch)
    if arch != "amd64":
        banner = _BANNER.search(decompress(data, str(image)))
        return banner[1].decode() if banner else ""
    (offset,) = struct.unpack_from("<H", data, 0x20E)
    words = data[offset + 0x200 : offset + 0x300].split(b"\0")[0].decode("latin-1").split() if offset else []
    return words[0] if words and re.fullmatch(r"[\w.+~-]+", words[0]) else ""


def _check_bootable(data: bytes, spec: str, arch: str) -> None:
    """Raise Unusable for what is no kernel image: the signatures that boot loaders look for."""
    if arch == "amd64":
        good = data[0x1FE:0x200] == b"\x55\xaa" and data[0x202:0x206] == b"HdrS"
        kind = "a bzImage"
    else:  # an Image, one packed by gzip, or one that unpacks itself (CONFIG_EFI_ZBOOT)
        good = data[0x38:0x3C] == b"ARM\x64" or data[:2] == b"\x1f\x8b" or data[4:8] == b"zimg"
        kind = "an Image"
    if not good:
        raise Unusable(
            f"{spec} is no {arch} kernel: it does not begin as {kind} does; name {kind}, a kernel build tree or "
            "debian:SUITE"
        )
