# SPDX-License-Identifier: GPL-2.0-or-later
"""A kernel as QEMU starts it without the step that unpacks it, which takes seconds on an emulated processor.

A bzImage is a packed ELF kernel behind a small program that unpacks and moves it. QEMU starts the ELF kernel itself
where that has a PVH entry (CONFIG_PVH): Debian's 6.1 begins 2.2 s earlier under TCG. It is the very same kernel, at its
default address. Source: Documentation/arch/x86/boot.rst (payload_offset), include/xen/interface/elfnote.h.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from passthru.image.bzimage import unpacked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Store

_BUILDER = "2"
_FILE = "vmlinux"

# A note of the owner "Xen" and the type 18, XEN_ELFNOTE_PHYS32_ENTRY, with an address of 4 or 8 bytes.
_ENTRY_NOTE = re.compile(rb"\x04\0\0\0[\x04\x08]\0\0\0\x12\0\0\0Xen\0")


def direct_image(kernel: Kernel, store: Store, tell: Tell) -> Path:
    """What QEMU is best given as -kernel: the kernel unpacked, kept in the cache, or its image where that cannot be."""
    if kernel.arch != "amd64" or kernel.has("PVH") is False:
        return kernel.image

    def build(tree: Path) -> Mapping[str, object]:
        plain = _unpacked(kernel.image.read_bytes())
        if plain is None:
            return {"direct": False}
        (tree / _FILE).write_bytes(plain)
        return {"direct": True}

    key = {"builder": _BUILDER, "image": kernel.identity}
    entry = store.entry("direct-kernel", key, build, tell, what=f"the kernel {kernel.source}, unpacked")
    return entry.path / _FILE if entry.facts["direct"] else kernel.image


def _unpacked(data: bytes) -> bytes | None:
    """The ELF kernel in a bzImage; None if it has no PVH entry, or is packed in a way that cannot be read here."""
    plain = unpacked(data) or b""
    return plain if plain.startswith(b"\x7fELF") and _ENTRY_NOTE.search(plain) else None
