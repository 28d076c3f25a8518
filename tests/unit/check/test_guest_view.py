# SPDX-License-Identifier: GPL-2.0-or-later
"""Two views of one card: what varies by nature is named, everything else counts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from passthru.check.guest_view import GuestView, differences, recorded, view
from passthru.errors import UserMistake
from tests.unit.check.harness import LISTING, RESOURCE, SETSERIAL, Answer, Log, TableGuest, judged

if TYPE_CHECKING:
    from pathlib import Path

MESSAGES = (
    "pci 0000:00:05.0: [4348:3253] type 00 class 0x070002",
    "pci 0000:00:05.0: BAR 0: assigned [io  0xc050-0xc057]",
    "0000:00:05.0: ttyS1 at I/O 0xc050 (irq = 10, base_baud = 115200) is a 16550A",
)


def moved(text: str) -> str:
    """The same device elsewhere: other addresses, another interrupt number."""
    text = (
        text.replace("c050", "d010").replace("c058", "d018").replace("IRQ 10", "IRQ 11").replace("IRQ: 10", "IRQ: 11")
    )
    text = text.replace("irq = 10", "irq = 11").replace("c057", "d017")
    return text.replace("10: 51 c0 00 00 59 c0", "10: 11 d0 00 00 19 d0").replace("00 0a 01 00 00", "00 0b 01 00 00")


def seen(listing: str = LISTING, ports: str = SETSERIAL, messages: tuple[str, ...] = MESSAGES) -> GuestView:
    return view(listing, ports, messages)


def test_a_view_is_as_itself() -> None:
    result = differences(seen(), seen())
    assert result.wrong == []
    assert result.compared > 70


def test_what_the_guest_assigned_is_named_and_does_not_count() -> None:
    other = seen(moved(LISTING), moved(SETSERIAL), tuple(map(moved, MESSAGES)))
    result = differences(seen(), other)
    assert result.wrong == []
    told = "; ".join(result.varies)
    for named in (
        "Region 0: at d010",
        "config 3c (interrupt line): 0b",
        "ttyS1: at 0xc050 with interrupt 10",
        "messages",
    ):
        assert named in told


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (seen(LISTING.replace("48 43 53 32 01", "48 43 53 33 01")), 'config 03: expected "32", got "33"'),
        (seen(LISTING.replace("[size=8]", "[size=16]", 1)), "Region 0: expected"),
        (seen(LISTING.replace("in use: serial", "in use: other")), "Kernel driver in use"),
        (seen(ports=SETSERIAL.replace("/dev/ttyS2, UART: 16550A", "/dev/ttyS2, UART: 8250")), "ttyS2: UART: expected"),
        (seen(ports=SETSERIAL.replace("/dev/ttyS3", "/dev/ttyS4")), "ports: expected"),
        (seen(messages=MESSAGES[:-1]), 'the kernel did not say "0000:00:05.0: ttyS1 at I/O 0x* (irq = *'),
        (seen(messages=(*MESSAGES, "serial 0000:00:05.0: too much work")), 'said "serial 0000:00:05.0: too much work"'),
        (seen(messages=(*MESSAGES, MESSAGES[-1])), "which is not expected"),
        (seen(messages=(MESSAGES[0].replace("70002", "70003"), *MESSAGES[1:])), 'did not say "pci 0000:00:05.0: [4348'),
    ],
)
def test_everything_else_counts_in_both_directions(other: GuestView, said: str) -> None:
    assert said in "; ".join(differences(seen(), other).wrong)
    assert differences(other, seen()).wrong


def test_what_only_the_other_one_has_counts_though_nobody_expects_it() -> None:
    more = replace(seen().lspci, config={**seen().lspci.config, 0x40: 0x23})
    assert (
        'the other way round, config 40: expected "23", got nothing'
        in differences(seen(), replace(seen(), lspci=more)).wrong
    )


async def a_run(path: Path, *uses: str, address: str = "0000:00:05.0") -> Path:
    """A run directory with what the checks found, as runs write it."""
    path.mkdir()
    log = "".join(f"[    1.{number}00000] {message}\n" for number, message in enumerate(MESSAGES))
    answers: dict[str, tuple[dict[str, Any], Answer]] = {
        "lspci": ({"expect": LISTING.replace("rev 10", "rev 11")}, Answer(LISTING.encode())),
        "setserial": ({"expect": SETSERIAL}, Answer(f"ttyS1\nttyS2\n\n10\n{RESOURCE}\n{SETSERIAL}".encode())),
        "dmesg": ({}, Answer(log.encode())),
    }
    lines = [{"time": 0.1, "kind": "run-started"}]
    for use in uses:
        table, answer = answers[use]
        finding = await judged(use, {"device": "mtty0", **table}, TableGuest(answer, Log(["[    0.9] Linux version"])))
        told = {"verdict": finding.verdict, "facts": dict(finding.facts)}
        lines.append(
            {"time": 1, "kind": "check-ended", "judgement": {"check": f"the-{use}", "use": use, "finding": told}}
        )
    (path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    checks = {f"the-{use}": {"use": use, "device": "mtty0"} for use in uses}
    (path / "scenario.json").write_text(json.dumps({"check": checks}))
    return path


async def test_views_are_read_from_run_directories(tmp_path: Path) -> None:
    one = recorded(await a_run(tmp_path / "one", "lspci", "setserial", "dmesg"), "mtty0")
    assert one == seen()


async def test_a_run_that_lacks_a_part_is_told(tmp_path: Path) -> None:
    run = await a_run(tmp_path / "one", "lspci", "dmesg")
    with pytest.raises(UserMistake, match="holds nothing that setserial told of mtty0"):
        recorded(run, "mtty0")
    with pytest.raises(UserMistake, match="holds nothing that lspci told of mtty1"):
        recorded(run, "mtty1")
    with pytest.raises(UserMistake, match="is no run directory"):
        recorded(tmp_path, "mtty0")
