# SPDX-License-Identifier: GPL-2.0-or-later
"""Placeholders in arguments."""

from __future__ import annotations

import pytest

from passthru.worker.placeholders import checked_name, replaced
from passthru.worker.protocol import RequestError


def replace(text: str) -> str:
    numbers = {("stream", "qmp"): 7, ("stream", "serial.0"): 8, ("listen", "mtty0"): 9, ("said", "p"): 10}
    return replaced(text, numbers, "/tmp/s/{}".format)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("socket,id=qmp,fd={stream:qmp}", "socket,id=qmp,fd=7"),
        ("{stream:qmp}{stream:serial.0}", "78"),
        ("--listen-fd={listen:mtty0}", "--listen-fd=9"),
        ("path={socket:mtty0},x", "path=/tmp/s/mtty0,x"),
        ("{socket:not-ours}", "/tmp/s/not-ours"),
        ("path=/proc/self/fd/{said:p}", "path=/proc/self/fd/10"),
        ('{"driver": {"type": "UNIX"}}', '{"driver": {"type": "UNIX"}}'),
        ("{stream}", "{stream}"),
        ("{other:qmp}", "{other:qmp}"),
        ('{"path":"{socket:a}"}', '{"path":"/tmp/s/a"}'),
    ],
)
def test_replaced(text: str, expected: str) -> None:
    assert replace(text) == expected


@pytest.mark.parametrize("text", ["{stream:mtty0}", "{listen:qmp}", "fd={stream:other}", "{told:mtty0}"])
def test_unknown_stream_is_named(text: str) -> None:
    with pytest.raises(RequestError, match=r"but the child has no (stream|listen|told) '(mtty0|qmp|other)'"):
        replace(text)


@pytest.mark.parametrize("name", ["", ".", "..", ".lock", "a/b", "../a", "a" * 33, "a b", "a\n", "\u00e4"])
def test_names_that_cannot_be_file_names(name: str) -> None:
    with pytest.raises(RequestError, match="cannot name"):
        checked_name(name)
    with pytest.raises(RequestError, match="cannot name"):
        replace("{socket:" + name + "}")
