# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand on the host whose kernel owns the devices: programs that run there, beside the guest.

Who runs the checks gives it, or does not: then a check that needs it is skipped, naming that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.check.context import Completed
    from passthru.deadline import Deadline

FACTS = ("bus", "address", "uuid", "group", "vfio_group", "cdev", "sysfs", "driver")
"""What can be known of an assigned device on its host: ``address`` is its PCI address (of an mdev its UUID, of others
their name on the ``bus``, which is "pci", "mdev", "platform", "amba" or "fsl-mc"), ``group``
the number of its IOMMU group, ``vfio_group`` and ``cdev`` its device files, ``sysfs`` its directory, ``driver`` the
driver that had it before."""


class HostHand(Protocol):
    """The hand on a host."""

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: Deadline) -> Completed:
        """Run a program of the host's to its end, with ``env`` added to the worker's environment.

        Output and errors come in one piece, as ``stdout``, in the order in which they were written; ``status`` is
        negative for a program that a signal killed. Raises DeadlineExceeded, with the last lines that it printed, after
        it and all that came of it were killed; Unusable where it cannot be started; WorkerLost.
        """

    def path_of(self, local: Path) -> str:
        """Where the host has a file or directory of this machine. Raises UserMistake where it was not brought in."""

    def facts(self, device: str) -> Mapping[str, str]:
        """What the host knows of a device of the scenario (by its id), as in FACTS; what it has not is left out."""
