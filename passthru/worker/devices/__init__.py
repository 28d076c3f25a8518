# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker does with the devices of its host: looked at, prepared for a guest, given back as they were.

    system        the machine's files (/sys, /proc, /dev) under one root, which tests inject, and its modules
    journal       what is about to be changed, on disk before it is
    steps         the kinds of changes: how each is done, seen, and undone only while it is still ours
    ledger        the steps of this worker, by assignment: done, undone, handed over
    buses         which buses' devices VFIO gives away
    pci, mdev, platform, fsl_mc
                  finding devices, and what preparing one takes; assign_* prepare them
    fsl_mc_contents
                  objects moved into DPAA2 containers and out of them
    usage, iommu  what stands in the way, each with its fix; preflight collects it
    recovery      journals of workers that were killed
    by_hand       bindings that stay until they are undone by hand

Nothing of it is imported before a request needs it: most runs have no device of the host's.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.worker.devices.operations import Operations
    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message

# The requests, as protocol.py documents them; operations.py has the same as methods.
NAMES = (
    "preflight",
    "prepare",
    "release",
    "recover",
    "bind",
    "unbind",
    "mdev-create",
    "mdev-remove",
    "mdev-types",
    "object-add",
    "object-remove",
)


class Devices:
    """The devices of one worker; ``make_system`` makes the access to its host when the first request needs it."""

    def __init__(self, make_system: Callable[[], System] | None = None) -> None:
        self._make_system = make_system
        self._operations: Operations | None = None

    def answer(self, request: Message) -> tuple[Message, list[int]]:
        """Carry out a request, one of NAMES. Raises RequestError."""
        if self._operations is None:
            from passthru.worker.devices.operations import Operations
            from passthru.worker.devices.system import System

            self._operations = Operations((self._make_system or System)())
        return self._operations.answer(request), []

    def end(self) -> list[str]:
        """Undo all that was prepared, the last first; returns a sentence for each failure."""
        return self._operations.end() if self._operations else []
