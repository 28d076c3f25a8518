# SPDX-License-Identifier: GPL-2.0-or-later
"""Boards are read key by key, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from passthru.emulation.shared_ram.board import Board, MessagePlace, RamPlace, Seat, SmmuPlace, parse_board
from passthru.errors import UserMistake

GOOD: dict[str, Any] = {
    "ram": {"path": "/ram", "size": 1 << 30},
    "qtest": "/qtest",
    "qmp": 5,
    "smmu": {"address": 0x7FE00000, "global_spi": 80, "context_spis": [81]},
    "messages": {"doorbell": 0x8090040, "streams": [24]},
    "devices": {"copy": {"model": "copy-engine", "regions": [0x7FC00000], "spis": [102], "stream": 64}},
}


def test_a_whole_board() -> None:
    board = parse_board(json.dumps(GOOD))
    assert board == Board(
        RamPlace("/ram", 1 << 30, 0x40000000),
        "/qtest",
        {"copy": Seat("copy-engine", [0x7FC00000], {}, [102], 64)},
        qmp=5,
        smmu=SmmuPlace(0x7FE00000, 80, [81]),
        messages=MessagePlace(0x8090040, [24]),
    )
    assert parse_board(json.dumps(asdict(board))) == board


def test_a_board_without_lines_needs_no_controller() -> None:
    board = parse_board('{"ram": {"path": "/ram", "size": 4096}, "qtest": 3, "devices": {}}')
    assert board.smmu is None and board.qtest == 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ram": {"path": "/ram"}}, r"ram of the board lacks a key; of size, base some are needed"),
        ({"ram": 5}, r"ram of the board is 5; it must be a JSON object"),
        ({"ram": {"path": "/ram", "size": -1}}, r"size of ram of the board is -1; it must be int, and not negative"),
        ({"qtest": None}, r"qtest of the board is None; it must be str or int"),
        ({"qtest": True}, r"qtest of the board is True"),
        ({"qmp": ""}, r"needs qmp, or controller, to find the interrupt controller"),
        ({"colour": 1}, r"the board has no key 'colour'; it has ram, qtest, devices, qmp, controller, smmu, messages"),
        ({"devices": []}, r"devices of the board is \[\]; it must be a JSON object"),
        ({"devices": {"a": {"model": "mtty", "regions": 1}}}, r"regions of a of devices of the board is 1; .* a list"),
        ({"devices": {"a": {"model": "m", "regions": ["x"]}}}, r"element 0 of regions of a .* is 'x'; it must be int"),
    ],
)
def test_what_is_wrong(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserMistake, match=sentence):
        parse_board(json.dumps(GOOD | change))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100000])
def test_what_is_no_board(text: str) -> None:
    with pytest.raises(UserMistake, match="the board is"):
        parse_board(text)
