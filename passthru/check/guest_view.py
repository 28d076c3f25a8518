# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest saw of a device, as two runs recorded it, compared: one card that reached two guests in two ways.

The texts are those that the checks ``lspci``, ``setserial`` and ``dmesg`` leave among their facts; a view is what they
hold, whether they passed or not.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from passthru.check import lspci_listing, setserial
from passthru.check.lspci_compare import Comparison, compare
from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from passthru.check.lspci_listing import Listing
    from passthru.check.setserial import Uart

# Addresses and interrupt numbers, as the guest's kernel assigned them.
_ASSIGNED = ((re.compile(r"(?<!class )0x[0-9a-f]+"), "0x*"), (re.compile(r"\b(irq|IRQ)( = | |: ?)\d+"), r"\1\2*"))


@dataclass(frozen=True)
class GuestView:
    """What a guest saw: the device's listing, the serial ports, and the kernel's messages about the device."""

    lspci: Listing
    setserial: tuple[Uart, ...]
    messages: tuple[str, ...]


def view(lspci: str, listing: str, messages: Sequence[str]) -> GuestView:
    """A view from what ``lspci -xxvv`` and ``setserial -g`` printed. Raises ValueError for what is no listing."""
    return GuestView(lspci_listing.parse(lspci), setserial.parse(listing), tuple(messages))


def recorded(directory: Path, device: str) -> GuestView:
    """The view of ``device`` (by its id) in a run directory, of its first check of each kind.

    Raises UserMistake where the run had no such check, or it came to no listing.
    """
    facts = dict(_facts(directory, device))

    def lines(use: str, name: str) -> list[str]:
        found = facts.get(use, {}).get(name)
        if not found:
            raise UserMistake(
                f"{directory} holds nothing that {use} told of {device}; run a scenario with a check of that use and"
                f' device = "{device}"'
            )
        return list(map(str, found))

    listing = "\n".join(lines("lspci", "listing"))
    return view(listing, "\n".join(lines("setserial", "listing")), lines("dmesg", "about"))


def differences(one: GuestView, other: GuestView) -> Comparison:
    """What differs (``wrong``), and what does by nature (``varies``): addresses, interrupt numbers, slots, names.

    The sentences call what ``one`` has expected.
    """
    result = compare(one.lspci, other.lspci, slot=one.lspci.slot)
    # A comparison looks for what is expected: the other way round it finds what only the other one has.
    back = compare(other.lspci, one.lspci, slot=other.lspci.slot)
    if not result.wrong:
        result.wrong += [f"the other way round, {sentence}" for sentence in back.wrong]
    _ports(one.setserial, other.setserial, result)
    _messages(one.messages, other.messages, result)
    return result


def _ports(one: Sequence[Uart], other: Sequence[Uart], result: Comparison) -> None:
    result.equal("ports", [uart.name for uart in one], [uart.name for uart in other])
    for wanted, got in zip(one, other, strict=False):
        result.equal(f"{wanted.name}: UART", wanted.uart, got.uart)
        if (wanted.port, wanted.irq) != (got.port, got.irq):
            result.varies.append(
                f"{wanted.name}: at {wanted.port:#x} with interrupt {wanted.irq}, and at {got.port:#x} with {got.irq}"
            )


def _messages(one: Sequence[str], other: Sequence[str], result: Comparison) -> None:
    wanted, got = Counter(map(_masked, one)), Counter(map(_masked, other))
    result.compared += (wanted & got).total()
    result.wrong += [f'the kernel did not say "{message}"' for message in wanted - got]
    result.wrong += [f'the kernel said "{message}", which is not expected' for message in got - wanted]
    if not result.wrong and list(one) != list(other):
        result.varies.append("the kernel's messages: addresses and interrupt numbers as it assigned them, their order")


def _masked(message: str) -> str:
    for pattern, instead in _ASSIGNED:
        message = pattern.sub(instead, message)
    return " ".join(message.split())


def _facts(directory: Path, device: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The facts of the run's checks on ``device``, by their use; the last pair of a use is the first check's."""
    try:
        checks = json.loads((directory / "scenario.json").read_text())["check"]
        events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    except (OSError, ValueError, KeyError) as error:
        raise UserMistake(f"{directory} is no run directory: {error}") from error
    for event in reversed(events):
        if event["kind"] == "check-ended":
            judgement = event["judgement"]
            if checks.get(judgement["check"], {}).get("device") == device:
                yield judgement["use"], judgement["finding"]["facts"]
