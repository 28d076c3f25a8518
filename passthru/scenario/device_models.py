# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables ``[device.ID]``, one type for each device model: the common keys and the model's own options.

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
from passthru.scenario.models import DeviceSpec

if TYPE_CHECKING:
    from passthru.emulation.model import Model


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
def device_type(model: str) -> type[DeviceSpec]:
    """The table of a device with this ``model``; raises KeyError for an unknown one, OwnCodeError."""
    kind = locate(model).kind
    keys: dict[str, Any] = {"model": (Literal[model], ...)}
    types = own_models.option_types(kind)
    for option in dataclasses.fields(kind.Options):
        if hasattr(DeviceSpec, option.name) or option.name in DeviceSpec.model_fields or option.name.startswith("_"):
            place = place_of(own_models.file_of(kind), kind.__name__)
            raise OwnCodeError(f"{place}: no option can be called {option.name}, as in the Options of {kind.__name__}")
        keys[option.name] = (types[option.name], option.default)
    return create_model(f"{kind.__name__}_device", __base__=DeviceSpec, __doc__=f"A device of model {model}.", **keys)
