# SPDX-License-Identifier: GPL-2.0-or-later
"""Archives as the kernel's unpacker reads them, judged by a reader of their own."""

from __future__ import annotations

import io
import stat
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passthru.image import cpio


@dataclass(frozen=True)
class Read:
    """A member as an archive tells it."""

    inode: int
    mode: int
    owner: tuple[int, int]
    links: int
    mtime: int
    device: tuple[int, int]
    data: bytes


def read(archive: bytes) -> dict[str, Read]:
    """All members up to the trailer, by name, in their order (buffer-format.rst)."""
    found: dict[str, Read] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * index : at + 14 + 8 * index], 16) for index in range(13)]
        inode, mode, uid, gid, links, mtime, size, _, _, major, minor, name_size, check = fields
        assert check == 0
        name = archive[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        start = at + 110 + name_size + (-(110 + name_size) % 4)
        data = archive[start : start + size]
        assert len(data) == size
        at = start + size + (-size % 4)
        text = name[:-1].decode()
        if text == "TRAILER!!!":
            assert at == len(archive)
            return found
        assert text not in found
        found[text] = Read(inode, mode, (uid, gid), links, mtime, (major, minor), data)


def written(*nodes: cpio.Node) -> bytes:
    """The bytes of an archive."""
    stream = io.BytesIO()
    cpio.write(stream, nodes)
    return stream.getvalue()


def test_each_kind_of_node() -> None:
    """Files, programs, links, directories and devices come back as they were."""
    found = read(
        written(
            cpio.file("etc/motd", b"hello"),
            cpio.file("init", b"#!/bin/sh\n", executable=True),
            cpio.link("bin", "usr/bin"),
            cpio.directory("tmp", 0o1777),
            cpio.character_device("dev/null", 1, 3, 0o666),
        )
    )
    assert found["etc/motd"].data == b"hello"
    assert found["etc/motd"].mode == stat.S_IFREG | 0o644
    assert found["init"].mode == stat.S_IFREG | 0o755
    assert (found["bin"].mode, found["bin"].data) == (stat.S_IFLNK | 0o777, b"usr/bin")
    assert found["tmp"].mode == stat.S_IFDIR | 0o1777
    assert (found["dev/null"].mode, found["dev/null"].device) == (stat.S_IFCHR | 0o666, (1, 3))


def test_directories_come_before_what_they_hold() -> None:
    """The kernel makes no directory by itself."""
    names = list(read(written(cpio.file("a/b/c/d", b""), cpio.file("a-b", b""))))
    assert names == ["a", "a-b", "a/b", "a/b/c", "a/b/c/d"]


def test_nothing_tells_who_wrote_it_and_when() -> None:
    """Root owns all, without times, numbered from 1."""
    found = list(read(written(cpio.file("b", b""), cpio.file("a", b""))).values())
    assert [member.inode for member in found] == [1, 2]
    assert {(member.owner, member.mtime, member.links) for member in found} == {((0, 0), 0, 1)}


def test_the_last_node_of_a_path_wins() -> None:
    """A recipe's own file replaces one of a package."""
    assert read(written(cpio.file("init", b"old"), cpio.file("init", b"new")))["init"].data == b"new"


_NAMES = st.lists(st.text("abc.-é", min_size=1, max_size=5), min_size=1, max_size=4).map("/".join)


@settings(database=None)
@given(st.dictionaries(_NAMES, st.binary(max_size=9), max_size=8), st.randoms())
def test_the_order_given_is_no_matter(files: dict[str, bytes], random: object) -> None:
    """The same nodes give the same bytes, and each of them is in there."""
    above = {name.rpartition("/")[0] for name in files}
    nodes = [
        cpio.file(name, data)
        for name, data in files.items()
        if not any(f"{path}/".startswith(f"{name}/") for path in above)
    ]
    archive = written(*nodes)
    assert written(*reversed(nodes)) == archive
    found = read(archive)
    assert {node.path: node.data for node in nodes}.items() <= {name: item.data for name, item in found.items()}.items()


def test_too_large_a_file_is_refused() -> None:
    """The format has 32 bits for the size."""

    class Huge(bytes):
        def __len__(self) -> int:
            return 1 << 32

    with pytest.raises(ValueError, match="too large"):
        written(cpio.file("huge", Huge()))
