# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a client sends: sound messages come back or the connection ends, nothing is left, the next one is served.

There is little of it by default; `budget` says how to have more.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import VERSION, Send, attack
from tests.unit.emulation.hostile.budget import fuzzing
from tests.unit.emulation.hostile.server import Server, started
from tests.unit.emulation.hostile.strategies import commands, conversations, descriptors, mutations, preparations
from tests.unit.emulation.hostile.tally import TALLY

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = ("scratch", "mtty", "dma-engine")


@pytest.fixture(scope="module", params=MODELS)
def target(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each model, which all examples of a test are with."""
    with started(request.param) as server:
        yield server
    assert TALLY.conversations, "nothing was done"


@fuzzing()
@given(st.just([]) | preparations, conversations())
def test_any_conversation(target: Server, before: list[Send], sends: list[Send]) -> None:
    attack(target.connect(), before + sends)
    target.serve_another()


@fuzzing()
@given(mutations())
def test_damaged_conversations_of_the_corpus(target: Server, sends: list[Send]) -> None:
    attack(target.connect(), sends)
    target.serve_another()


@fuzzing()
@given(preparations, st.lists(st.tuples(commands, st.booleans(), descriptors), max_size=16))
def test_each_sound_command_has_one_reply_in_order(
    target: Server, before: list[Send], sent: list[tuple[tuple[int, bytes], bool, tuple[str, ...]]]
) -> None:
    disconnects = len(target.disconnects())
    sends = list(before)
    expected = [user.HEADER.unpack_from(send.data)[0] for send in before]
    for number, ((command, payload), answered, kinds) in enumerate(sent, 1):
        flags = 0 if answered else user.NO_REPLY
        sends.append(Send(user.command(number, command, payload, flags), kinds))
        expected += [number] * answered
    answers = attack(target.connect(), sends)
    replies = [answer.message_id for answer in answers if answer.what not in ("DMA_READ", "DMA_WRITE")]
    target.serve_another()
    assert replies == expected
    assert len(target.disconnects()) == disconnects


@fuzzing(20)
@given(preparations, conversations())
def test_any_conversation_while_others_knock(target: Server, before: list[Send], sends: list[Send]) -> None:
    done = threading.Event()

    def knock() -> None:
        while not done.is_set():
            with target.connect() as connection, contextlib.suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(VERSION.data[:16])

    thread = threading.Thread(target=knock)
    thread.start()
    try:
        attack(target.connect(), before + sends)  # which may itself be one that knocks
    finally:
        done.set()
        thread.join()
    target.serve_another()
