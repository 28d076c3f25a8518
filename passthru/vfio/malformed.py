# SPDX-License-Identifier: GPL-2.0-or-later
"""The error for what a device answered and what cannot be understood."""

from __future__ import annotations


class Malformed(Exception):
    """A device's answer contradicts itself or the interface; the sentence says how.

    No OSError: the device did not refuse, it said something that nobody can use.
    """
