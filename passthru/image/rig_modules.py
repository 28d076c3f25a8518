# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel modules of a rig: those that its drives need, those of VFIO and KVM, and the ones a scenario asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import MissingCapability, Unusable, UserMistake
from passthru.image.elf import NotElf, modinfo
from passthru.image.kbuild.provide import provide
from passthru.image.modules import available, closure, lacking, plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.modules import Module
    from passthru.image.store import Entry, Store

_FIRST = {
    "virtio_pci": "VIRTIO_PCI",
    "virtio_blk": "VIRTIO_BLK",
    "virtio_console": "VIRTIO_CONSOLE",
    "erofs": "EROFS_FS",
    "overlay": "OVERLAY_FS",
}
"""What must be there before the root is: module -> its option."""

_BEFORE = {"virtio_blk": "virtio_iommu", "erofs": "crc32c_generic"}
"""What is loaded before them where the kernel has it as a module, though they do not say so: the drives may be behind
that IOMMU and then wait for it; erofs asks for a checksum by its algorithm's name."""

_LATER = (
    *("kvm", "kvm_amd", "kvm_intel"),
    *("vfio", "vfio_iommu_type1", "vfio_virqfd", "vfio_pci", "mdev", "vfio_mdev", "iommufd"),
    *("vfio_platform", "vfio_amba", "vfio_fsl_mc"),
    *("igb", "igbvf", "e1000e", "virtio_net", "8250_pci", "uio_pci_generic", "pci_stub"),
)
"""What lies in every rig for modprobe, where the kernel has it as a module."""


@dataclass(frozen=True)
class Wanted:
    """What a rig of ``kernel`` gets: ``first`` and ``asked`` are loaded at boot, ``later`` lie there for modprobe."""

    kernel: Kernel
    first: tuple[str, ...]
    asked: tuple[str, ...]
    later: tuple[str, ...]
    built: Mapping[str, Path] = field(default_factory=dict)
    """Modules that are not the kernel's own: name -> file."""
    entries: tuple[Entry, ...] = ()
    """The cache entries of those that were built for this kernel."""
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)

    def load_first(self, tell: Tell) -> list[Module]:
        """The modules that the drives need, in their order."""
        return closure(self.kernel, self.first, tell)

    def load_all(self, tell: Tell) -> list[Module]:
        """All that come into the image."""
        return closure(self.kernel, (*self.first, *self.asked, *self.later), tell, self.built)


def wanted(kernel: Kernel, names: Sequence[str], store: Store, tell: Tell, *, update: bool = False) -> Wanted:
    """What a rig of ``kernel`` that is asked for the modules ``names`` gets.

    A name with a slash is a directory: of sources (a Kbuild) that are built for this kernel, or of .ko files. What
    cannot be built for this kernel is ``missing``. Raises Unusable: the kernel cannot run a rig; UserMistake: no such
    directory.
    """
    _demand(kernel)
    pairs = ((_BEFORE.get(name), name) for name in _FIRST)
    first = [name for pair in pairs for name in pair if name in _FIRST or (name and available(kernel, name))]
    asked: list[str] = []
    built: dict[str, Path] = {}
    entries: dict[str, Entry] = {}
    missing: dict[str, MissingCapability] = {}
    for name in dict.fromkeys(names):
        ready = _ready_made(Path(name).expanduser(), kernel) if "/" in name else {}
        if ready:
            built.update(ready)
            asked += ready
            continue
        try:
            provided = provide(kernel, [name], store, tell, update=update)
        except MissingCapability as why:
            missing[name] = why
            continue
        asked += provided.names
        built.update(provided.built)
        entries.update((entry.digest, entry) for entry in provided.entries)
    later = tuple(name for name in _LATER if name not in built and available(kernel, name))
    return Wanted(kernel, tuple(first), tuple(asked), later, built, tuple(entries.values()), missing)


def _demand(kernel: Kernel) -> None:
    """Raise Unusable for a kernel that could not mount its root."""
    absent = {name for name in lacking(kernel, list(_FIRST)) if not kernel.has(f"{_FIRST[name]}=y")}
    if kernel.modules is None:
        absent = {name for name, option in _FIRST.items() if kernel.has(f"{option}=y") is False}
    if absent:
        options = ", ".join(f"CONFIG_{_FIRST[name]}" for name in _FIRST if name in absent)
        raise Unusable(
            f"the kernel {kernel.source} ({kernel.release}) cannot run a rig, since it lacks {options}; set "
            f"{'them' if len(absent) > 1 else 'it'} and build it anew, or take another one as host.kernel"
        )


def _ready_made(home: Path, kernel: Kernel) -> dict[str, Path]:
    """The .ko files in a directory of the user's, name -> file; none where it holds sources."""
    if not home.is_dir():
        raise UserMistake(f"host.modules names {home}, which is no directory; name one with .ko files or a Kbuild")
    if (home / "Kbuild").is_file() or (home / "Makefile").is_file():
        return {}
    found = {plain_name(path.stem): path.absolute() for path in sorted(home.glob("*.ko"))}
    if not found:
        raise UserMistake(
            f"host.modules names {home}, which holds neither .ko files nor a Kbuild; name a directory that does"
        )
    for path in found.values():
        try:
            magic = modinfo(path.read_bytes()).get("vermagic", [""])[0]
        except (OSError, NotElf) as error:
            raise Unusable(f"{path} is no kernel module: {error}; build it anew") from error
        if magic.split(" ", 1)[0] != kernel.release:
            raise Unusable(
                f"{path} was built for the kernel {magic.split(' ', 1)[0] or 'unknown'}, and the rig's is "
                f"{kernel.release} ({kernel.source}); build it for that one, or name the directory of its sources"
            )
    return found
