# SPDX-License-Identifier: GPL-2.0-or-later
"""The last calls as text."""

from __future__ import annotations

import errno
import os

from passthru.vfio.linux_vfio import REGION_INFO
from passthru.vfio.transcript import Transcript


def test_calls_become_lines() -> None:
    transcript = Transcript()
    transcript.note(("read", "region", 0, "offset", 0x98, "->", b"\x01\x02\x03\x04\x05"))
    transcript.note(("VFIO_DEVICE_RESET", 0, OSError(errno.EINVAL, os.strerror(errno.EINVAL))))
    assert transcript.lines() == ["read region 0 offset 0x98 -> 01020304 05", "VFIO_DEVICE_RESET 0 -> EINVAL"]


def test_long_data_is_shortened_and_an_error_without_a_number_told() -> None:
    transcript = Transcript()
    transcript.note(("write", bytes(100)))
    transcript.note(("gone", ConnectionError("the server closed")))
    assert transcript.lines() == [f"write {' '.join(['00000000'] * 8)}...(100 bytes)", "gone -> the server closed"]


def test_structures_are_told_by_their_fields_whichever_the_transport() -> None:
    transcript = Transcript()
    asked = REGION_INFO.pack(32, 0, 2, 0, 0, 0)
    for call in ("VFIO_DEVICE_GET_REGION_INFO", "DEVICE_GET_REGION_INFO"):
        transcript.note((call, asked, "->", REGION_INFO.pack(40, 15, 2, 32, 0x1000, 2 << 40) + b"more" + bytes(4)))
        assert transcript.lines(last=1) == [
            f"{call} argsz=0x20 flags=0 index=2 cap_offset=0 size=0 offset=0 -> "
            "argsz=0x28 flags=0xf index=2 cap_offset=0x20 size=0x1000 offset=0x20000000000 6d6f7265"
        ]


def test_a_structure_that_is_cut_short_is_told_by_its_bytes() -> None:
    transcript = Transcript()
    transcript.note(("VFIO_DEVICE_GET_INFO", bytes(6), "->", b""))
    assert transcript.lines() == ["VFIO_DEVICE_GET_INFO 00000000 0000 ->"]


def test_only_the_last_calls_are_kept() -> None:
    transcript = Transcript(kept=3)
    for number in range(5):
        transcript.note(("call", number))
    assert transcript.lines() == ["call 2", "call 3", "call 4"]
    assert transcript.lines(last=1) == ["call 4"]
    transcript.clear()
    assert transcript.lines() == []
