# SPDX-License-Identifier: GPL-2.0-or-later
"""Structures in and out of an ioctl: their room, what lies behind it, and refusals."""

from __future__ import annotations

import errno
import os

import pytest

from passthru.vfio.kernel.descriptor import MOST_ROOM, Descriptor
from passthru.vfio.malformed import Malformed
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl, refuse

CALL = 0x3B6B


def test_a_structure_gets_the_room_that_its_argsz_says() -> None:
    def fill(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        argument[4:100] = b"x" * 96

    descriptor = FakeIoctl({CALL: fill}).descriptor()
    asked = (100).to_bytes(4, "little") + bytes(28)
    assert descriptor.structure("CALL", CALL, asked) == asked[:4] + b"x" * 96
    descriptor.close()


@pytest.mark.parametrize("refused", [False, True])
def test_a_kernel_that_writes_behind_the_room_is_caught(refused: bool) -> None:
    def overflow(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        argument[16] ^= 0xFF
        if refused:
            raise OSError(errno.EINVAL, "refused")

    descriptor = FakeIoctl({CALL: overflow}).descriptor()
    with pytest.raises(Malformed, match="CALL was given 16 bytes of room"):
        descriptor.structure("CALL", CALL, (16).to_bytes(4, "little") + bytes(12))
    descriptor.close()


def test_an_argsz_beyond_all_measure_is_given_as_it_is_with_room_enough() -> None:
    ioctl = FakeIoctl({CALL: lambda _: 0})
    descriptor = ioctl.descriptor()
    assert len(descriptor.structure("CALL", CALL, b"\xff" * 4 + bytes(12))) == MOST_ROOM
    given = ioctl.asked[0][1]
    assert isinstance(given, bytes)
    assert given[:16] == b"\xff" * 4 + bytes(12)
    descriptor.close()


def test_a_structure_shorter_than_its_first_field_is_given_as_it_is() -> None:
    descriptor = FakeIoctl({CALL: refuse(errno.EINVAL)}).descriptor()
    with pytest.raises(OSError, match="Invalid"):
        descriptor.structure("CALL", CALL, b"")
    descriptor.close()


def test_an_answer_in_place_is_there_even_where_the_call_is_refused() -> None:
    def tell(argument: int | bytearray) -> None:
        assert isinstance(argument, bytearray)
        argument[8:12] = (7).to_bytes(4, "little")
        raise OSError(errno.ENOSPC, "too little room")

    descriptor = FakeIoctl({CALL: tell}).descriptor()
    structure = bytearray((12).to_bytes(4, "little") + bytes(8))
    with pytest.raises(OSError, match="room"):
        descriptor.in_place("CALL", CALL, structure)
    assert structure[8:] == (7).to_bytes(4, "little")
    descriptor.close()


def test_calls_and_refusals_are_in_the_transcript() -> None:
    descriptor = FakeIoctl({CALL: lambda _: 5}).descriptor()
    assert descriptor.plain("CALL", CALL, 3) == 5
    with pytest.raises(OSError, match="Inappropriate"):
        descriptor.structure("OTHER", CALL + 1, (8).to_bytes(4, "little") + bytes(4))
    assert descriptor.transcript.lines() == ["CALL 3 -> 5", "OTHER 08000000 00000000 -> ENOTTY"]
    descriptor.close()


def test_a_real_ioctl_is_refused_by_its_errno_and_once_closed_by_ebadf() -> None:
    descriptor = Descriptor(os.memfd_create("no device"))
    with pytest.raises(OSError, match="Inappropriate") as raised:
        descriptor.structure("CALL", CALL, (16).to_bytes(4, "little") + bytes(12))
    assert raised.value.errno == errno.ENOTTY
    descriptor.close()
    descriptor.close()
    with pytest.raises(OSError, match="descriptor") as raised:
        descriptor.plain("CALL", CALL)
    assert raised.value.errno == errno.EBADF
