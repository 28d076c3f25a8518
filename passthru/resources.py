# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the scenarios and the image recipes are, in a checkout and installed."""

from __future__ import annotations

from pathlib import Path


def directory(name: str) -> Path:
    """The directory ``name`` (``guests`` or ``images``) of this installation."""
    package = Path(__file__).resolve().parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name
