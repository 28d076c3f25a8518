# SPDX-License-Identifier: GPL-2.0-or-later
"""Expected texts of a scenario, adapted to the device that the guest really got."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passthru.check.context import AssignedDevice
    from passthru.check.options import Variant


def adapted(lines: Iterable[str], variants: Sequence[Variant], device: AssignedDevice | None) -> tuple[str, ...]:
    """The expected ``lines`` for this device: those of its variants left out or replaced."""
    result = list(lines)
    for variant in variants:
        if device is None or any(device.options.get(name) != value for name, value in variant.when.items()):
            continue
        result = [line for line in result if not any(re.search(pattern, line) for pattern in variant.omit)]
        for pattern, new_line in variant.replace.items():
            result = [new_line if re.search(pattern, line) else line for line in result]
    return tuple(result)


def refuse_idle_variants(lines: Sequence[str], variants: Sequence[Variant]) -> None:
    """Raise ValueError for a variant whose pattern finds no line: it would go on to expect what it means to change."""
    for variant in variants:
        for pattern in (*variant.omit, *variant.replace):
            if not any(re.search(pattern, line) for line in lines):
                raise ValueError(f'has a variant whose pattern "{pattern}" finds none of the expected lines')


def filled_in(text: str, device: AssignedDevice | None, *, pattern: bool = False) -> str:
    """``text`` with ``{address}`` replaced by the device's address, escaped where the text is a ``pattern``."""
    if device is None:
        return text
    return text.replace("{address}", re.escape(device.address) if pattern else device.address)
