# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels unpacked for QEMU to start them directly, and those that cannot be."""

from __future__ import annotations

import gzip
import lzma
import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from passthru.events import tell_nobody
from passthru.image.direct import direct_image
from tests.unit.image.made import bzimage, kernel_with

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store

NOTE = struct.pack("<III", 4, 8, 18) + b"Xen\0" + struct.pack("<Q", 0x1000850)
ELF = b"\x7fELF" + bytes(4000) + NOTE + b"text" * 1000


def xz(data: bytes) -> bytes:
    """As the kernel's build does it: the unpacked size is appended."""
    return lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data))


def kernel(tmp_path: Path, payload: bytes, *, pvh: bool = True, identity: str = "1" * 64) -> Kernel:
    """A kernel with this payload."""
    image = tmp_path / "bzImage"
    image.write_bytes(bzimage(payload=payload))
    made = kernel_with(None, config={"PVH": "y"} if pvh else {"PCI": "y"})
    return replace(made, image=image, identity=identity)


@pytest.mark.parametrize("payload", [xz(ELF), gzip.compress(ELF)], ids=["xz", "gzip"])
def test_the_kernel_itself(store: Store, tmp_path: Path, payload: bytes) -> None:
    """What is in the bzImage comes out, once."""
    made = kernel(tmp_path, payload)
    found = direct_image(made, store, tell_nobody)
    assert found != made.image
    assert found.read_bytes() == ELF
    made.image.unlink()
    assert direct_image(made, store, tell_nobody) == found


@pytest.mark.parametrize(
    "payload",
    [xz(ELF.replace(b"Xen\0", b"Yen\0")), xz(b"no ELF file" + NOTE), b"packed in an unknown way", xz(ELF)[:100]],
    ids=["no entry", "no ELF", "unknown", "damaged"],
)
def test_what_cannot_be_started_directly(store: Store, tmp_path: Path, payload: bytes) -> None:
    """The image is used as it is."""
    made = kernel(tmp_path, payload)
    assert direct_image(made, store, tell_nobody) == made.image
    assert direct_image(made, store, tell_nobody) == made.image


def test_a_kernel_without_the_option_is_not_read(store: Store, tmp_path: Path) -> None:
    """Its configuration tells."""
    made = kernel(tmp_path, xz(ELF), pvh=False)
    made.image.unlink()
    assert direct_image(made, store, tell_nobody) == made.image
    assert not store.root.exists()
