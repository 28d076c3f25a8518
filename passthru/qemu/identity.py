# SPDX-License-Identifier: GPL-2.0-or-later
"""What tells one program from another without reading it: an upgrade changes it, a restart does not."""

from __future__ import annotations

import hashlib
from pathlib import Path


def of_file(path: Path) -> str:
    """A digest over real path, size, modification time, inode and device. Raises OSError."""
    real = Path(path).resolve(strict=True)
    status = real.stat()
    parts = (real, status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev)
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:40]


def of_this_boot() -> str:
    """A name of this boot of this machine, for answers that hold until it ends.

    Source: /proc/sys/kernel/random/boot_id, drivers/char/random.c. A container shares its host's.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
