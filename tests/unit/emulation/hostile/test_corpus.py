# SPDX-License-Identifier: GPL-2.0-or-later
"""Each conversation on file has the answers and the end that it says, and the next client is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.vfio import user_messages as user
from tests.unit.emulation.client import VERSION_PAYLOAD
from tests.unit.emulation.hostile.adversary import Send, attack
from tests.unit.emulation.hostile.corpus_files import CORPUS, load
from tests.unit.emulation.hostile.make_corpus import files
from tests.unit.emulation.hostile.server import started

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.emulation.hostile.server import Server

PROBE = 0xABCD
CASES = sorted(CORPUS.iterdir())


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """A server of each model that all the conversations are with, one after the other."""
    with started("scratch") as scratch, started("mtty") as mtty:
        yield {"scratch": scratch, "mtty": mtty}


def test_the_corpus_is_what_its_script_makes() -> None:
    assert {path.name: path.read_text() for path in CASES} == dict(files())


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_conversation(servers: dict[str, Server], path: Path) -> None:
    case = load(path)
    server = servers[case.model]
    disconnects = len(server.disconnects())
    sends = list(case.sends)
    if case.end != "silence":  # a second VERSION is refused and a first one is not, but both are answered
        sends.append(Send(user.command(PROBE, user.VFIO_USER_VERSION, VERSION_PAYLOAD)))
    answers = attack(server.connect(), sends)
    probed = bool(answers) and answers[-1].message_id == PROBE
    if probed:
        answers.pop()
    assert [answer.what for answer in answers] == list(case.expected)
    server.serve_another()
    assert (probed, len(server.disconnects()) - disconnects) == (case.end == "alive", case.end == "disconnected")
