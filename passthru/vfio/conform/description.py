# SPDX-License-Identifier: GPL-2.0-or-later
"""The target as a controlling side names it, in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.vfio.targets import target_of

if TYPE_CHECKING:
    from passthru.vfio.device import Target


@dataclass(frozen=True)
class Description:
    """What is told of the target beside the target itself: ``container`` is the way, ``name`` the device's."""

    target: Target
    name: str = ""
    container: str = ""


def parse_description(text: str, time_limit: float) -> Description:
    """See `target_of` for the JSON; ``time_limit`` is seconds for a device server's reply. Raises UserMistake."""
    try:
        given = json.loads(text)
        if not isinstance(given, dict):
            raise ValueError("it is no object")
        if given.get("transport") == "vfio-user":
            from passthru.vfio.user.target import UserTarget

            if not isinstance(given.get("socket"), str):
                raise ValueError("it has no socket")
            target: Target = UserTarget(given["socket"], time_limit, patience=float(given.get("patience", 0)))
        else:
            target = target_of(given)
    except ValueError as error:
        raise UserMistake(f"the target {text} cannot be understood: {error}") from error
    return Description(target, str(given.get("name", "")), str(given.get("container", "")))
