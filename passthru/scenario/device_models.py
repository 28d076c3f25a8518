# SPDX-License-Identifier: GPL-2.0-or-later
"""The tables ``[device.ID]``, one type for each device model: the common keys and the model's own options."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, Literal, get_type_hints

from pydantic import create_model

from passthru.emulation.models import catalogue
from passthru.scenario.models import DeviceSpec


def models() -> tuple[str, ...]:
    """The names of all device models."""
    return tuple(catalogue())


@cache
def device_type(model: str) -> type[DeviceSpec]:
    """The table of a device with this ``model``; raises KeyError for an unknown one."""
    options = catalogue()[model].Options
    types = get_type_hints(options)
    keys: dict[str, Any] = {"model": (Literal[model], ...)}
    for option in dataclasses.fields(options):
        if option.name in DeviceSpec.model_fields:
            raise TypeError(f"model {model} has an option {option.name}, which is a key of every device")
        keys[option.name] = (types[option.name], ... if option.default is dataclasses.MISSING else option.default)
    return create_model(f"{model}_device", __base__=DeviceSpec, __doc__=f"A device of model {model}.", **keys)
