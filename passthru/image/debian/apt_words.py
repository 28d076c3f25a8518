# SPDX-License-Identifier: GPL-2.0-or-later
"""What apt says: its progress, its errors, and which of them are a full disk's."""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

    from passthru.image.command import CommandFailed


def percent(line: str) -> float | None:
    """The percentage of a ``dlstatus:N:PERCENT:text`` line (apt's README.progress-reporting)."""
    words = line.split(":", 3)
    if len(words) < 3 or words[0] != "dlstatus":
        return None
    try:
        return float(words[2])
    except ValueError:
        return None


def update_troubles(stderr: str) -> list[str]:
    """The lines of ``apt-get update`` that tell of lists that did not come."""
    told = [line for line in stderr.splitlines() if line[:2] in ("E:", "W:")]
    return [line for line in told if "Failed to fetch" in line or "Release" in line]


def failure(failed: CommandFailed) -> str:
    """Why an apt failed, in one line."""
    told = [line for line in failed.stderr.splitlines() if line.startswith("E:")]
    return failed.reason or short(told[0] if told else failed.last_words)


def short(text: str) -> str:
    """One line of apt's, without its markers and with the host instead of the whole address."""
    line = re.sub(r"^[EW]:\s*", "", text.strip().splitlines()[0]) if text.strip() else ""
    match = re.match(r"Failed to fetch (\S+)\s+(.*)", line)
    if match:
        return f"{urlsplit(match[1]).hostname or match[1]}: {match[2].strip().rstrip('.')}"
    return line.rstrip(".")


def raise_if_full(stderr: str, home: Path) -> None:
    """Raise OSError where apt had no room below ``home``."""
    if "No space left on device" in stderr or "enough free space" in stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home))
    if "Disk quota exceeded" in stderr:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), str(home))
