# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices that passthru can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthru.emulation.model import Model

_PLACES = {
    "mtty": "mtty:Mtty",
    "dma-engine": "dma_engine:DmaEngine",
    "copy-engine": "copy_engine:CopyEngineDevice",
    "management-complex": "management_complex:ManagementComplex",
}


class _Catalogue(Mapping[str, "type[Model]"]):
    """Imports what is asked for: whoever serves or starts one device does without the others."""

    def __getitem__(self, name: str) -> type[Model]:
        module, _, kind = _PLACES[name].partition(":")
        found: type[Model] = getattr(import_module(f"{__name__}.{module}"), kind)
        return found

    def __contains__(self, name: object) -> bool:
        return name in _PLACES

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


def catalogue() -> Mapping[str, type[Model]]:
    """Models by name. Each class has ``Options``, a frozen dataclass, and is built from an instance of it."""
    return _Catalogue()
