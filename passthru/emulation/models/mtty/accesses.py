# SPDX-License-Identifier: GPL-2.0-or-later
"""How mtty cuts accesses into pieces (mtty_read and mtty_write)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def pieces(offset: int, count: int) -> Iterator[tuple[int, int]]:
    """(offset, size) of 4, 2 or 1 bytes, each the largest that is aligned and fits."""
    while count:
        if count >= 4 and not offset % 4:
            size = 4
        elif count >= 2 and not offset % 2:
            size = 2
        else:
            size = 1
        yield offset, size
        offset += size
        count -= size
