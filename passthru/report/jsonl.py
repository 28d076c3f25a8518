# SPDX-License-Identifier: GPL-2.0-or-later
"""Every event as one line of JSON, written as it happens."""

from __future__ import annotations

import dataclasses
import enum
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from passthru.errors import Unusable

if TYPE_CHECKING:
    from passthru.events import Event


def plain(value: object) -> Any:
    """``value`` as what JSON knows: dataclasses become objects, enums their value, paths and bytes strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Path):
        return str(value)
    return value


class EventLog:
    """Writes ``events.jsonl``: ``{"time": seconds since the run began, "kind": ..., ...}``.

    A file that cannot be written (a full disk) breaks nothing on the way: the rest is not recorded, and leaving the
    context raises Unusable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._began = time.monotonic()
        self._trouble: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._file.close()
        if self._trouble is not None and kind is None:
            reason = self._trouble.strerror or str(self._trouble)
            raise Unusable(
                f"cannot write {self._path}: {reason}; name another place with --runs DIR"
            ) from self._trouble

    def __call__(self, event: Event) -> None:
        """Listen to one event."""
        line = {"time": round(time.monotonic() - self._began, 4), "kind": event.kind, **plain(event)}
        if self._trouble is None:
            try:
                self._file.write(json.dumps(line).encode() + b"\n")
            except OSError as error:
                self._trouble = error
