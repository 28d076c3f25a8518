# SPDX-License-Identifier: GPL-2.0-or-later
"""Architectures in Debian's words."""

from __future__ import annotations

import platform


def machine_arch() -> str:
    """This machine's architecture in Debian's words."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
