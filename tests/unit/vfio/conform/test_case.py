# SPDX-License-Identifier: GPL-2.0-or-later
"""The words that tests are written in."""

from __future__ import annotations

import errno
import mmap
import os

import pytest

from passthru.vfio.conform import places
from passthru.vfio.conform.case import Failed
from tests.unit.emulation.client import open_descriptors
from tests.unit.vfio.conform.made_device import MadeTarget, made_case


def test_refused_takes_the_errnos_named() -> None:
    with made_case() as case:
        with case.refused(errno.EINVAL, errno.ENOTTY, what="it"):
            raise OSError(errno.ENOTTY, "no")
        with case.refused(what="it"):
            raise OSError(errno.EIO, "no")
        with (
            pytest.raises(Failed, match="it was refused with EIO where EINVAL is demanded"),
            case.refused(errno.EINVAL, what="it"),
        ):
            raise OSError(errno.EIO, "no")
        with pytest.raises(Failed, match="it was not refused"), case.refused(what="it"):
            pass


@pytest.mark.parametrize("lost", [ConnectionResetError("gone"), TimeoutError("late")])
def test_a_lost_server_is_no_refusal(lost: OSError) -> None:
    with made_case() as case, pytest.raises(type(lost)), case.refused(what="it"):
        raise lost


def test_signals_are_counted_and_taken() -> None:
    with made_case() as case:
        eventfd = case.eventfd()
        assert case.signals(eventfd) == 0
        os.eventfd_write(eventfd, 2)
        assert (case.signals(eventfd), case.signals(eventfd)) == (2, 0)


def test_everything_is_given_back() -> None:
    target = MadeTarget()
    before = open_descriptors()
    with pytest.raises(Failed), made_case(target) as case:
        case.eventfd()
        case.buffer(mmap.PAGESIZE)
        case.open()
        case.fail("on purpose")
    assert open_descriptors() == before
    assert target.log == ["open", "close"]


def test_a_page_that_is_not_there_fails_the_test_and_not_the_process() -> None:
    descriptor = os.memfd_create("short")
    os.ftruncate(descriptor, mmap.PAGESIZE)
    with mmap.mmap(descriptor, mmap.PAGESIZE) as mapped, made_case() as case:
        assert places.peek(case, mapped, 8, 8, 4) == bytes(8)
        os.ftruncate(descriptor, 0)
        with pytest.raises(Failed, match="the mapping cannot be read at 0x8"):
            places.peek(case, mapped, 8, 8, 4)
    os.close(descriptor)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_mappings_are_loaded_and_stored_in_units(width: int) -> None:
    with mmap.mmap(-1, mmap.PAGESIZE) as mapped, made_case() as case:
        data = bytes(range(16))
        places.poke(mapped, 32, data, width)
        assert mapped[32:48] == data
        assert places.peek(case, mapped, 32, 16, width) == data
