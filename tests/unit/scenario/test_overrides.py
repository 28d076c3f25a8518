# SPDX-License-Identifier: GPL-2.0-or-later
"""``--set`` texts by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from passthru.scenario.overrides import Override, parse, parse_assignments


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("a=1", ("a",), 1),
        ("a.b-c.d_e = 2.5", ("a", "b-c", "d_e"), 2.5),
        ("a=true", ("a",), True),
        ("a=word", ("a",), "word"),
        ("a=debian:sid", ("a",), "debian:sid"),
        ("a=/path/to x", ("a",), "/path/to x"),
        ("a=b=c", ("a",), "b=c"),
        ('a="1"', ("a",), "1"),
        ("a=[1, 'x']", ("a",), [1, "x"]),
        ("a={b = 1}", ("a",), {"b": 1}),
        ('a."b.c=d"=1', ("a", "b.c=d"), 1),
        ('a=""', ("a",), ""),
        ("a=1\nb = 2", ("a",), "1\nb = 2"),
        ("a=05.0", ("a",), "05.0"),
    ],
)
def test_keys_and_values_are_read_as_toml_or_words(text: str, path: tuple[str, ...], value: Any) -> None:
    assert parse(text) == Override(text, path, value)


def test_assignments_make_one_tree() -> None:
    assert parse_assignments(["ports=1", "a.b=x", "a.c=2"]) == {"ports": 1, "a": {"b": "x", "c": 2}}
