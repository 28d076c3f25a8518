# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema of scenario files, every check's options and every model's included, for editors that complete.

It judges one file as it is written, before includes are merged: keys and types, but not what is missing, since an
included part may have it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field
from pydantic.json_schema import models_json_schema

from passthru import installed
from passthru.check import registry
from passthru.check.options import CheckOptions, Variant
from passthru.scenario import device_models
from passthru.scenario.descriptions import descriptions
from passthru.scenario.device_models import BUSES, SERVED
from passthru.scenario.hosts import HardwareSpec, LocalHost, RigHost
from passthru.scenario.models import CompanionDevice, CompanionSpec, DeviceSpec, GuestSpec, Scenario

if TYPE_CHECKING:
    from pydantic import BaseModel


class OwnDevice(DeviceSpec):
    """A device whose model is in a file of the user's own; its options are beside these keys."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(pattern=r"\.py:[A-Za-z_]")
    """``FILE.py:CLASS``, relative to this file."""


class OwnCheck(CheckOptions):
    """A check in a file of the user's own; its options are beside these keys."""

    model_config = ConfigDict(extra="allow")

    use: str = Field(pattern=r"\.py(:[A-Za-z_].*)?$")
    """``FILE.py`` or ``FILE.py:NAME``, relative to this file."""


_HOSTS: dict[str, type[BaseModel]] = {"host": LocalHost, "host-rig": RigHost}
_PARTS = (Variant, CompanionSpec, HardwareSpec)
_OWN_DEVICE, _OWN_CHECK = "device-own", "check-own"
_INCLUDE = {
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "default": [],
    "description": "Files whose tables are merged under this one's, by id; relative to this file.",
}


def schema() -> dict[str, Any]:
    """The schema, in the 2020-12 dialect."""
    uses = (*registry.names(), *installed.names(installed.CHECKS))
    models = (*device_models.models(), *installed.names(installed.MODELS))
    checks: dict[str, type[BaseModel]] = {f"check-{name}": registry.check(name).Options for name in uses}
    devices: dict[str, type[BaseModel]] = {f"device-{name}": device_models.device_type(name) for name in models}
    devices["device-companion"] = CompanionDevice
    for bus in (bus for bus in BUSES if bus != SERVED):
        devices[f"device-{bus}"] = BUSES[bus]
        devices |= {f"device-{bus}-{name}": device_models.device_type(name, bus) for name in models}
    devices |= {_OWN_DEVICE: OwnDevice}
    checks |= {_OWN_CHECK: OwnCheck}
    tables: dict[str, type[BaseModel]] = {**_HOSTS, "guest": GuestSpec, **devices, **checks}
    kinds: dict[str, type[BaseModel]] = {"scenario": Scenario, **tables}
    refs, made = models_json_schema([(kind, "validation") for kind in kinds.values()])
    text = json.dumps(made["$defs"])
    for name, kind in kinds.items():
        text = text.replace(f'"{_name(refs[kind, "validation"])}"', f'"{name}"')
        text = text.replace(f'"{refs[kind, "validation"]["$ref"]}"', f'"#/$defs/{name}"')
    definitions: dict[str, Any] = json.loads(text)
    described: dict[str, type[BaseModel]] = {**kinds, **{kind.__name__: kind for kind in _PARTS}}
    for name, kind in described.items():
        for key, text in descriptions(kind).items():
            if key in definitions[name].get("properties", {}):
                definitions[name]["properties"][key].setdefault("description", text)
    for name in kinds:
        definitions[name].pop("required", None)
        definitions[name]["title"] = name
    # Nothing else tells them from a table whose file leaves it to an included part what it is.
    definitions[_OWN_DEVICE]["required"] = ["model"]
    definitions[_OWN_CHECK]["required"] = ["use"]
    top = definitions.pop("scenario")
    for key, choices in (("device", devices), ("check", checks)):
        pattern = next(iter(top["properties"][key]["patternProperties"]))
        top["properties"][key] = {
            "type": "object",
            "description": top["properties"][key]["description"],
            "propertyNames": {"pattern": pattern},
            "additionalProperties": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in choices]},
        }
    top["properties"]["host"] = {
        "description": descriptions(Scenario)["host"],
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in _HOSTS],
    }
    top["properties"]["include"] = _INCLUDE
    kept = {name: body for name, body in definitions.items() if name in tables or name in described}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": "scenario", "$defs": kept}


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]
