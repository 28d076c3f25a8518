# SPDX-License-Identifier: GPL-2.0-or-later
"""Conversations on file: what a hostile client sends and what it gets.

A file holds lines of these kinds; ``#`` starts a comment. Bytes are hex words, ``ff*100`` is a repetition.

    model NAME                  the device, scratch by default
    send BYTES [+KIND ...]      one sendmsg, with descriptors (see `adversary.KINDS`)
    expect WORD ...             the answers in their order: ok, an errno, or a command of the server; ok*3 is three
    then alive                  a probe at the end is answered: the connection goes on
    then disconnected           the server has ended the connection and said so
    then silence                the server waits for more
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

from tests.unit.emulation.hostile.adversary import Send

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Case:
    """One conversation."""

    title: str
    sends: tuple[Send, ...]
    expected: tuple[str, ...]
    end: str = "alive"
    model: str = "scratch"


def load(path: Path) -> Case:
    """The conversation in a file."""
    title, model, end = "", "scratch", ""
    sends: list[Send] = []
    expected: list[str] = []
    for line in path.read_text().splitlines():
        text, _, comment = line.partition("#")
        word, _, rest = text.strip().partition(" ")
        if word == "send":
            words = rest.split()
            data = b"".join(_bytes(word) for word in words if not word.startswith("+"))
            sends.append(Send(data, tuple(word[1:] for word in words if word.startswith("+"))))
        elif word == "expect":
            for answer, _, times in (word.partition("*") for word in rest.split()):
                expected += [answer] * int(times or 1)
        elif word == "model":
            model = rest
        elif word == "then":
            end = rest
        elif not word:
            title = comment.strip()
        else:
            raise ValueError(f"{path}: {line!r}")
    return Case(title, tuple(sends), tuple(expected), end, model)


def text(case: Case) -> str:
    """The file of a conversation."""
    lines = ["# SPDX-License-Identifier: GPL-2.0-or-later", f"# {case.title}"]
    if case.model != "scratch":
        lines.append(f"model {case.model}")
    lines += [" ".join(["send", *_words(send.data), *(f"+{kind}" for kind in send.descriptors)]) for send in case.sends]
    if case.expected:
        runs = ((answer, len(list(run))) for answer, run in itertools.groupby(case.expected))
        lines.append(" ".join(["expect", *(f"{answer}*{times}" if times > 1 else answer for answer, times in runs)]))
    lines.append(f"then {case.end}")
    return "\n".join(lines) + "\n"


def _bytes(word: str) -> bytes:
    digits, _, times = word.partition("*")
    return bytes.fromhex(digits) * int(times or 1)


_UNITS = (1, 2, 3, 4, 5, 24, 32, 56)  # bytes; the larger ones are an entry of many writes, a read, a doorbell
_RUN = 8  # so many equal units in a row are written as a repetition


def _words(data: bytes) -> list[str]:
    words = []
    at = plain = 0
    while at < len(data):
        for unit in _UNITS:
            times = 1
            while data[at + times * unit : at + (times + 1) * unit] == data[at : at + unit] != b"":
                times += 1
            if times >= _RUN:
                words += _plain(data[plain:at])
                words.append(f"{data[at : at + unit].hex()}*{times}")
                at = plain = at + unit * times
                break
        else:
            at += 1
    return words + _plain(data[plain:])


def _plain(data: bytes) -> list[str]:
    return [data[at : at + 16].hex() for at in range(0, len(data), 16)]
