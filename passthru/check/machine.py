# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine that a guest runs on, as far as a check takes hold of it: its devices out and in, and its reset.

Who runs the checks gives it, or does not: then a check that needs it is skipped, naming that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from passthru.errors import PassthruError

if TYPE_CHECKING:
    from passthru.deadline import Deadline

How = Literal["guest", "reset"]
"""How a guest is rebooted: by its own kernel, or by the machine's reset line, which the guest does not see coming."""


class Refused(PassthruError):
    """The machine or the guest did not do what was asked, and said so; the sentence holds their own words."""


class Machine(Protocol):
    """The hand on a machine. Each method raises GuestTrouble at once when the guest, or what it needs, dies."""

    async def remove(self, device: str, deadline: Deadline) -> None:
        """Ask the guest to let a device go (by its id), and wait until it did and the device is gone.

        Raises DeadlineExceeded when it does not let go, Refused, MissingCapability where nothing can be unplugged.
        """

    async def add(self, device: str, deadline: Deadline) -> None:
        """Plug a removed device in again, as it was and where it was; the guest may see it later only.

        Raises DeadlineExceeded, Refused, MissingCapability.
        """

    async def reboot(self, how: How, deadline: Deadline) -> None:
        """Reboot the guest and wait until commands can run in it again.

        Raises DeadlineExceeded (its ``awaited`` says how far it came), Refused.
        """
