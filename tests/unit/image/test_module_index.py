# SPDX-License-Identifier: GPL-2.0-or-later
"""What modprobe reads, judged by a reader of the format (kmod: libkmod/libkmod-index.c)."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from passthru.image.module_index import index_files, trie
from passthru.image.modules import Module


def read(data: bytes) -> list[tuple[str, int, str]]:
    """All (key, priority, value) of an index."""
    magic, version, root = struct.unpack_from(">III", data)
    assert (magic, version) == (0xB007F457, 0x00020001)
    found: list[tuple[str, int, str]] = []
    _read(data, root, b"", found)
    return sorted(found, key=lambda item: item[1])


def _text(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.index(b"\0", at)
    return data[at:end], end + 1


def _read(data: bytes, offset: int, key: bytes, found: list[tuple[str, int, str]]) -> None:
    at = offset & 0x0FFFFFFF
    if offset & 0x80000000:
        prefix, at = _text(data, at)
        key += prefix
    if offset & 0x20000000:
        first, last = data[at], data[at + 1]
        children = struct.unpack_from(f">{last - first + 1}I", data, at + 2)
        at += 2 + 4 * len(children)
        for byte, child in enumerate(children, first):
            if child:
                _read(data, child, key + bytes([byte]), found)
    if offset & 0x40000000:
        (count,) = struct.unpack_from(">I", data, at)
        at += 4
        for _ in range(count):
            (priority,) = struct.unpack_from(">I", data, at)
            value, at = _text(data, at + 4)
            found.append((key.decode(), priority, value.decode()))


_WORDS = st.text("ab_:*1", max_size=6)


@settings(database=None)
@given(st.lists(st.tuples(_WORDS, _WORDS), max_size=12))
def test_an_index_holds_what_was_put_in(pairs: list[tuple[str, str]]) -> None:
    """Keys that begin alike, equal keys and the empty one included."""
    assert read(trie(pairs)) == [(key, priority, value) for priority, (key, value) in enumerate(pairs)]


def test_the_files_of_three_modules() -> None:
    """The nearest dependency first and the deepest last: modprobe loads them from the end."""
    modules = [
        Module("virtio", "kernel/virtio.ko", b"", (), ()),
        Module("virtio_ring", "kernel/virtio_ring.ko", b"", ("virtio",), ()),
        Module(
            "virtio_pci", "kernel/virtio_pci.ko", b"", ("virtio", "virtio_ring"), ("pci:v00001AF4d*", "a-b[c-d]e-f")
        ),
    ]
    files = index_files(modules)
    assert files["modules.dep"].decode().splitlines() == [
        "kernel/virtio.ko:",
        "kernel/virtio_ring.ko: kernel/virtio.ko",
        "kernel/virtio_pci.ko: kernel/virtio_ring.ko kernel/virtio.ko",
    ]
    assert read(files["modules.dep.bin"])[2][::2] == (
        "virtio_pci",
        "kernel/virtio_pci.ko: kernel/virtio_ring.ko kernel/virtio.ko",
    )
    assert [(key, value) for key, _, value in read(files["modules.alias.bin"])] == [
        ("pci:v00001AF4d*", "virtio_pci"),
        ("a_b[c-d]e_f", "virtio_pci"),
    ]
    assert files["modules.alias"].decode().splitlines()[0] == "alias pci:v00001AF4d* virtio_pci"


def test_what_is_built_in_is_known_too() -> None:
    """Who asks modprobe for it is not refused."""
    files = index_files([], ["vfio", "kvm_amd"])
    assert [key for key, _, _ in read(files["modules.builtin.bin"])] == ["kvm_amd", "vfio"]
    assert files["modules.builtin"] == b"kernel/kvm_amd.ko\nkernel/vfio.ko\n"
