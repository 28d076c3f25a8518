# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables ``[device.ID]``, one type for each bus and device model: the bus's keys and the model's own options.

Over vfio-user the model is what is served; on the other buses it is what the host's device is like, for the checks.

``model`` is the name of one of passthru's, ``FILE.py:CLASS`` for one of the user's own, or the name of an entry point
that an installed package has in the group ``passthru.models``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import create_model

from passthru import installed
from passthru.emulation import own_models
from passthru.emulation.models import catalogue
from passthru.own_code import OwnCodeError, files_of, place_of, split_reference
from passthru.scenario.models import DeviceSpec, ServedDevice
from passthru.scenario.passed_through import AmbaDevice, FslMcDevice, MdevDevice, PciDevice, PlatformDevice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.emulation.model import Model

SERVED = "vfio-user"
BUSES: dict[str, type[DeviceSpec]] = {
    SERVED: ServedDevice,
    "pci": PciDevice,
    "mdev": MdevDevice,
    "platform": PlatformDevice,
    "amba": AmbaDevice,
    "fsl-mc": FslMcDevice,
}
"""The table of each bus's devices, without a model's options."""

# samples/vfio-mdev/mtty.c of the kernel: "Single port serial", "Dual port serial".
_TYPES: dict[str, dict[str, Any]] = {
    "mtty-1": {"model": "mtty", "ports": 1},
    "mtty-2": {"model": "mtty", "ports": 2},
}


@dataclass(frozen=True)
class Located:
    """A model: its class, the words that name it to a device server, and the user's files that it comes from."""

    kind: type[Model]
    words: tuple[str, ...]
    files: tuple[str, ...] = ()


def models() -> tuple[str, ...]:
    """The names of passthru's own device models."""
    return tuple(catalogue())


@cache
def locate(model: str) -> Located:
    """Where a model is; raises KeyError for an unknown name, OwnCodeError for what is wrong in a user's."""
    if reference := split_reference(model):
        return Located(own_models.from_file(model).kind, (model,), files_of(reference[0]))
    if (kind := catalogue().get(model)) is not None:
        return Located(kind, (model,))
    point = installed.find(installed.MODELS, model)
    if point is None:
        raise KeyError(model)
    _, place = installed.load(point)
    value, root = f"{point.module}:{point.attr}", str(place.parent)
    return Located(own_models.from_package(value, root).kind, (value, "--package-root", root))


@cache
def device_type(model: str, bus: str = SERVED) -> type[DeviceSpec]:
    """The table of a device of ``bus`` with this ``model``; raises KeyError for an unknown one, OwnCodeError."""
    kind, base = locate(model).kind, BUSES[bus]
    keys: dict[str, Any] = {"model": (Literal[model], ...)}
    types = own_models.option_types(kind)
    options = dataclasses.fields(kind.Options)
    for option in options:
        if hasattr(base, option.name) or option.name in base.model_fields or option.name.startswith("_"):
            place = place_of(own_models.file_of(kind), kind.__name__)
            raise OwnCodeError(f"{place}: no option can be called {option.name}, as in the Options of {kind.__name__}")
        keys[option.name] = (types[option.name], option.default)
    name = f"{kind.__name__}_{base.__name__}"
    made = create_model(name, __base__=base, __doc__=f"A device of model {model}.", **keys)
    made.option_names = tuple(option.name for option in options)
    return made


def like(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The keys that follow from an mdev's type: the model that is the same device, and that model's options.

    Of a type that nobody knows but its parent: whether it is there the host says.
    """
    if table.get("bus") != "mdev":
        return {}
    kind, parent = table.get("type"), table.get("parent")
    known = _TYPES.get(kind) if isinstance(kind, str) else None
    known = known or next(({"model": parent} for keys in _TYPES.values() if keys["model"] == parent), None)
    return known if known is not None and table.get("model", known["model"]) == known["model"] else {}
