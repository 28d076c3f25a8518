# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tables ``[check.ID]`` of a scenario have in common."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is not a regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles), Field(json_schema_extra={"format": "regex"})]
"""A Python regular expression, kept as its text."""

Scalar = bool | int | float | str


class Table(BaseModel):
    """Base of every table of a scenario: frozen, strict about types, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Variant(Table):
    """How the expected text changes with the device's own options.

    The kernel documents show one form of a device; an option of its model (one port instead of two) may take lines
    away or change them.
    """

    when: dict[str, Scalar]
    """Options of the device and the values for which this variant holds."""
    omit: tuple[Pattern, ...] = ()
    """Expected lines that then do not appear; each pattern must be found in one line at least."""
    replace: dict[Pattern, str] = {}
    """Expected lines that then read otherwise: a pattern that finds them, and the whole new line."""


class CheckOptions(Table):
    """Keys of every check."""

    with_guest: ClassVar[bool] = True
    """Whether it can judge while a guest has the devices."""
    without_guest: ClassVar[bool] = False
    """Whether it can judge devices on their host, where a scenario has no guest."""

    use: str
    """Which check this is."""
    device: str | None = None
    """The id of the device that is judged."""
    modules: tuple[str, ...] = ()
    """Kernel modules that the guest needs for it; where one cannot be had, the check is skipped."""
    timeout: float = Field(default=30.0, gt=0)
    """Seconds that the check may take at most (stretched where the guest is emulated)."""

    @property
    def brings(self) -> tuple[str, ...]:
        """Files and directories of this machine that must be on the host for it, as absolute paths."""
        return ()


class DeviceCheckOptions(CheckOptions):
    """Keys of every check that judges a device."""

    device: str
    """The id of the device that is judged."""
