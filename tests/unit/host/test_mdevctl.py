# SPDX-License-Identifier: GPL-2.0-or-later
"""Definitions of mdevctl's: its forms are read and written, and what is wrong is told with its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from passthru.errors import UserMistake
from passthru.host.mdevctl import Definition, dump, dump_all, of_file, parse

if TYPE_CHECKING:
    from pathlib import Path

UUID = "783e6dbb-ea0e-411f-94e2-717eaad438bf"
ATTRIBUTES = (("assign_adapter", "5"), ("assign_adapter", "6"), ("assign_domain", "0xab"))
CARD = Definition("vfio_ap-passthrough", "matrix", UUID, "auto", ATTRIBUTES)

# As `mdevctl list -d -u UUID --dumpjson` prints it.
ALONE: dict[str, Any] = {
    "mdev_type": "vfio_ap-passthrough",
    "start": "auto",
    "attrs": [{"assign_adapter": "5"}, {"assign_adapter": "6"}, {"assign_domain": "0xab"}],
}
LISTED: list[Any] = [{"matrix": [{UUID: ALONE}]}]


def test_both_forms_are_written() -> None:
    assert json.loads(dump(CARD)) == ALONE
    assert json.loads(dump_all([CARD])) == LISTED
    assert json.loads(dump_all([])) == []


def test_both_forms_are_read() -> None:
    assert parse(json.dumps(ALONE), "it") == [Definition(CARD.type, start="auto", attributes=ATTRIBUTES)]
    assert parse(json.dumps(LISTED), "it") == [CARD]
    assert parse(json.dumps(LISTED).replace(UUID, UUID.upper()), "it") == [CARD]


@pytest.mark.parametrize("more", [{}, {"attrs": None}, {"start": "manual"}, {"attrs": [], "later": 1}])
def test_only_the_type_is_needed(more: dict[str, Any]) -> None:
    assert parse(json.dumps({"mdev_type": "mtty-1"} | more), "it") == [Definition("mtty-1")]


def test_a_path_like_mdevctls_tells_the_parent_and_the_uuid(tmp_path: Path) -> None:
    file = tmp_path / "0000:00:02.0" / UUID
    file.parent.mkdir()
    file.write_text(json.dumps(ALONE))
    assert of_file(file) == [Definition(CARD.type, "0000:00:02.0", UUID, "auto", ATTRIBUTES)]
    other = file.rename(file.with_name("card.json"))
    assert of_file(other) == [Definition(CARD.type, None, None, "auto", ATTRIBUTES)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("17", "a definition, or a list of parents"),
        ('{"start": "auto"}', "a definition, or a list of parents"),
        ("[]", "defines no mdev"),
        ("[17]", "an object of parents"),
        ('[{"mtty": {}}]', "it, mtty has to be a list of mdevs"),
        ('[{"mtty": [{"me": {"mdev_type": "mtty-1"}}]}]', "it, mtty, me: that is no UUID"),
        ('{"mdev_type": ""}', '"mdev_type" is ""'),
        ('{"mdev_type": 1}', '"mdev_type" is 1'),
        ('{"mdev_type": "a", "start": "now"}', '"start" is "now"'),
        ('{"mdev_type": "a", "attrs": {"a": "b"}}', '"attrs" has to be a list'),
        ('{"mdev_type": "a", "attrs": [{"a": "b", "c": "d"}]}', 'in "attrs" has to be one'),
        ('{"mdev_type": "a", "attrs": [{"a": 1}]}', 'the attribute "a" is 1'),
        (json.dumps([{"matrix": [{UUID: {"mdev_type": None}}]}]), f'it, matrix, {UUID}: "mdev_type" is null'),
    ],
)
def test_what_is_wrong_is_told(text: str, words: str) -> None:
    with pytest.raises(UserMistake, match="it") as raised:
        parse(text, "it")
    assert words in str(raised.value)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    for name in ("bytes", "none", "."):
        with pytest.raises(UserMistake, match="cannot be read"):
            of_file(tmp_path / name)
