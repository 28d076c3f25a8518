# SPDX-License-Identifier: GPL-2.0-or-later
"""Small answers that are remembered in the cache: what a QEMU can do, whether KVM works here.

An answer is cheap to get again, so trouble with the cache never stops anybody here: what cannot be read is asked
again, what cannot be kept is not.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.image.store import canonical, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.image.store import Store

_FORMAT = 1  # of what is kept; another one is asked anew


def recall(store: Store, about: Mapping[str, str]) -> dict[str, Any] | None:
    """The answer that was kept about this, or None."""
    try:
        record = json.loads(_path(store, about).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("format") != _FORMAT or record.get("about") != dict(about):
        return None
    answer = record.get("answer")
    return answer if isinstance(answer, dict) else None


def keep(store: Store, about: Mapping[str, str], answer: Mapping[str, Any]) -> None:
    """Remember an answer, if the cache lets us."""
    with contextlib.suppress(Unusable, OSError):
        store.area("answers")
        record = {"format": _FORMAT, "about": dict(about), "answer": dict(answer)}
        write_whole(_path(store, about), canonical(record).encode())


def forget(store: Store, about: Mapping[str, str]) -> None:
    """Forget an answer, if there is one."""
    with contextlib.suppress(OSError):
        _path(store, about).unlink()


def _path(store: Store, about: Mapping[str, str]) -> Path:
    return store.root / "area" / "answers" / f"{hashlib.sha256(canonical(about).encode()).hexdigest()[:40]}.json"
