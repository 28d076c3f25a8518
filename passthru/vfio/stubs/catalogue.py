# SPDX-License-Identifier: GPL-2.0-or-later
"""The stubs that come with passthru, and the one that a user brings, named ``FILE.py`` or ``FILE.py:CLASS``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.own_code import OwnCodeError, load_file, place_of, split_reference
from passthru.vfio.stubs.copy_engine import CopyEngine
from passthru.vfio.stubs.dma_engine import DmaEngine
from passthru.vfio.stubs.dprc import Dprc
from passthru.vfio.stubs.edu import Edu
from passthru.vfio.stubs.igb import Igb
from passthru.vfio.stubs.mtty import Mtty
from passthru.vfio.stubs.pci_serial import PciSerial
from passthru.vfio.stubs.pl011 import Pl011
from passthru.vfio.stubs.pl031 import Pl031
from passthru.vfio.stubs.stub import Stub

if TYPE_CHECKING:
    from types import ModuleType

    from passthru.vfio.stubs.stub import Identity

STUBS: tuple[type[Stub], ...] = (Mtty, DmaEngine, Edu, PciSerial, Igb, CopyEngine, Pl031, Pl011, Dprc)


def stub_for(identity: Identity) -> type[Stub] | None:
    """The stub of passthru's own for a device; None where nobody has written one."""
    return next((stub for stub in STUBS if stub.matches(identity)), None)


def from_file(reference: str) -> type[Stub]:
    """The stub ``FILE.py:CLASS``, or the only one in ``FILE.py``. Raises OwnCodeError."""
    named = split_reference(reference)
    if named is None:
        raise OwnCodeError(f"{reference}: names no file with a stub; write FILE.py or FILE.py:CLASS")
    file, name = named
    module = load_file(file)
    path = str(module.__file__)
    return _named(module, name, path) if name else _only(module, path)


def _named(module: ModuleType, name: str, path: str) -> type[Stub]:
    kind = getattr(module, name, None)
    if kind is None:
        raise OwnCodeError(f"{path}: has no class {name}; {_there_are(module)}")
    if not isinstance(kind, type) or not issubclass(kind, Stub):
        raise OwnCodeError(
            f"{place_of(path, name)}: {name} is no stub; write a class derived from passthru.vfio.stubs.stub.Stub"
        )
    return kind


def _only(module: ModuleType, path: str) -> type[Stub]:
    found = _stubs_in(module)
    if not found:
        raise OwnCodeError(f"{path}: has no stub; write a class derived from passthru.vfio.stubs.stub.Stub")
    if len(found) > 1:
        raise OwnCodeError(f"{path}: which class of it? write {path}:{next(iter(found))}; {_there_are(module)}")
    return next(iter(found.values()))


def _stubs_in(module: ModuleType) -> dict[str, type[Stub]]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Stub) and value.__module__ == module.__name__
    }


def _there_are(module: ModuleType) -> str:
    return f"stubs in it: {', '.join(_stubs_in(module)) or 'none'}"
