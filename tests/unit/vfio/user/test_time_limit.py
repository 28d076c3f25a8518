# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that are late, slow or gone."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import user_messages as user
from passthru.vfio.user.errors import GivenUp
from tests.unit.vfio.user.servers import SECONDS, scripted

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.user.device import UserDevice
    from tests.unit.vfio.user.servers import Peer

LIMIT = 0.2
CALLS: dict[str, Callable[[UserDevice], object]] = {
    "REGION_READ": lambda device: device.read(0, 0, 4),
    "REGION_WRITE": lambda device: device.write(0, 0, b"abcd"),
    "DEVICE_GET_INFO": lambda device: device.info(),
}


@pytest.mark.parametrize("name", CALLS)
def test_silence_has_an_end(name: str) -> None:
    with scripted(lambda peer: None, time_limit=LIMIT) as made:
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=rf"did not answer {name}( of 4 bytes .*)? within 0.2 s"):
            CALLS[name](made.device)
        assert LIMIT <= time.monotonic() - begin < 5
        with pytest.raises(GivenUp, match=f"did not answer {name}"):
            made.device.info()


@pytest.mark.parametrize("name", CALLS)
def test_a_part_of_an_answer_is_none(name: str) -> None:
    with (
        scripted(lambda peer: peer.send(user.reply(2, 9, bytes(20))[:18]), time_limit=LIMIT) as made,
        pytest.raises(TimeoutError, match=r"of .* bytes came"),
    ):
        CALLS[name](made.device)


def test_drops_do_not_put_the_end_off() -> None:
    """A byte now and then: each would begin the kernel's time limit anew."""

    def script(peer: Peer) -> None:
        message_id, command, _ = peer.receive()
        answer = user.reply(message_id, command, user.REGION_ACCESS.pack(0, 0, 4) + b"abcd")
        try:
            for at in range(len(answer)):
                peer.send(answer[at : at + 1])
                time.sleep(LIMIT / 3)  # a slow server, not a wait
        except OSError:
            return

    with scripted(script, time_limit=LIMIT) as made:
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            made.device.read(0, 0, 4)
        assert time.monotonic() - begin < 5 * LIMIT


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_leaves(name: str) -> None:
    def script(peer: Peer) -> None:
        peer.receive()
        peer.connection.shutdown(2)

    with (
        scripted(script) as made,
        pytest.raises(
            ConnectionResetError, match=rf"closed the connection while {name}( of 4 bytes .*)? was under way"
        ),
    ):
        CALLS[name](made.device)


@pytest.mark.parametrize("name", CALLS)
def test_a_server_that_left(name: str) -> None:
    with scripted(lambda peer: peer.connection.shutdown(2)) as made:
        with pytest.raises(ConnectionResetError):
            CALLS[name](made.device)
        with pytest.raises(GivenUp):
            CALLS[name](made.device)


def test_a_server_that_does_not_read() -> None:
    done = threading.Event()

    def script(peer: Peer) -> None:
        done.wait(SECONDS)

    with scripted(script, time_limit=LIMIT) as made:
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="did not take REGION_WRITE within"):
            for _ in range(10_000):
                made.device.write_posted(0, 0, bytes(4096))
        assert time.monotonic() - begin < SECONDS
        done.set()
