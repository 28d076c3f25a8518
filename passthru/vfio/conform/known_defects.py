# SPDX-License-Identifier: GPL-2.0-or-later
"""Defects of kernels that are known: tests that would crash them, or that they are known not to pass.

Such a test is skipped with the reason, so that what is new stands out; ``--dangerous`` runs them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthru.vfio.conform.facts import Facts
    from passthru.vfio.conform.registry import Test

NEVER = (1 << 16, 0)  # no release has mended it


@dataclass(frozen=True)
class KnownDefect:
    """A defect of ``driver`` in kernels before the release ``mended``; ``tests`` are patterns of names and topics."""

    driver: str
    mended: tuple[int, int]
    tests: tuple[str, ...]
    reason: str

    def meets(self, facts: Facts) -> bool:
        """Whether a target has it."""
        return facts.transport == "kernel" and facts.driver == self.driver and facts.version < self.mended

    def concerns(self, test: Test, facts: Facts) -> bool:
        """Whether this test of this target would meet it."""
        return self.meets(facts) and any(test.matches(pattern) for pattern in self.tests)


MTTY_DISABLES_BADLY = KnownDefect(
    "mtty",
    (6, 7),
    (
        "data-none-*",
        "data-bool-*",
        "eventfd-*",
        "index-*",
        "subindex-*",
        "mask-*",
        "unmask-*",
        "bad-*",
        "an-unassigned-*",
        "random-interrupt-*",
        "real-interrupts-*",
        "a-real-interrupt-[!c]*",  # all but a-real-interrupt-comes, which disables nothing
        "automasked-*",
        "masked-*",
        "a-masked-*",
        "an-eventfd-*",
        "an-interrupt-that-*",
        "closing-with-interrupts-*",
        "a-reset-with-interrupts-*",
        "the-first-of-two-openers-*",
    ),
    "mtty before Linux 6.7 crashes the kernel: each SET_IRQS with DATA_NONE and ACTION_TRIGGER lets the eventfd go once"
    ' more (mended by "vfio/mtty: Overhaul mtty interrupt handling"); it knows neither masks nor -1',
)

FSL_MC_DISABLES_BADLY = KnownDefect(
    "vfio-fsl-mc",
    NEVER,
    ("an-index-that-nobody-enabled-is-disabled",),
    "vfio-fsl-mc crashes the kernel where an index is disabled before any was enabled (SET_IRQS with DATA_NONE, count"
    " 0): vfio_set_trigger looks at what only the first enabling makes",
)

KNOWN_DEFECTS = (
    FSL_MC_DISABLES_BADLY,
    KnownDefect(
        "vfio-fsl-mc",
        NEVER,
        ("bad-actions-do-nothing",),
        "vfio-fsl-mc looks for ACTION_TRIGGER and for no other action: it triggers where it is to mask as well",
    ),
    MTTY_DISABLES_BADLY,
    KnownDefect(
        "mtty",
        NEVER,
        ("*-past-the-end-*", "an-absent-region-*", "far-offsets-*"),
        "mtty checks no bounds: an access past the end of its configuration space reaches memory of the kernel",
    ),
    KnownDefect(
        "mtty",
        NEVER,
        ("a-reset-that-is-not-offered-is-refused",),
        "mtty offers no VFIO_DEVICE_RESET, answers it with success and resets nothing (mtty_reset in"
        " samples/vfio-mdev/mtty.c)",
    ),
)


def known_defect(test: Test, facts: Facts) -> str:
    """Why a test is not to be run against a target; empty where nothing is known against it."""
    return next((known.reason for known in KNOWN_DEFECTS if known.concerns(test, facts)), "")


def disables_safely(facts: Facts) -> bool:
    """Whether the index of an interrupt can be disabled without harm."""
    return not MTTY_DISABLES_BADLY.meets(facts)
