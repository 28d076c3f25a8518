# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that are not done."""

from __future__ import annotations

from passthru.emulation.mc_status import Status

__all__ = ["Refused", "Status"]


class Refused(Exception):
    """A command that is not done."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.name.lower().replace("_", " "))
        self.status = status
