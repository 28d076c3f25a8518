# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema of scenario files, every check's options and every model's included, for editors that complete.

It judges one file as it is written, before includes are merged: keys and types, but not what is missing, since an
included part may have it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from passthru.check import registry
from passthru.scenario import device_models
from passthru.scenario.models import GuestSpec, HostSpec, Scenario

if TYPE_CHECKING:
    from pydantic import BaseModel

_INCLUDE = {
    "type": "array",
    "items": {"type": "string", "minLength": 1},
    "default": [],
    "description": "Files whose tables are merged under this one's, by id; relative to this file.",
}


def schema() -> dict[str, Any]:
    """The schema, in the 2020-12 dialect."""
    checks: dict[str, type[BaseModel]] = {f"check-{name}": registry.check(name).Options for name in registry.names()}
    devices: dict[str, type[BaseModel]] = {
        f"device-{name}": device_models.device_type(name) for name in device_models.models()
    }
    tables: dict[str, type[BaseModel]] = {"host": HostSpec, "guest": GuestSpec, **devices, **checks}
    kinds: dict[str, type[BaseModel]] = {"scenario": Scenario, **tables}
    refs, made = models_json_schema([(kind, "validation") for kind in kinds.values()])
    text = json.dumps(made["$defs"])
    for name, kind in kinds.items():
        text = text.replace(f'"{_name(refs[kind, "validation"])}"', f'"{name}"')
        text = text.replace(f'"{refs[kind, "validation"]["$ref"]}"', f'"#/$defs/{name}"')
    definitions: dict[str, Any] = json.loads(text)
    for name in kinds:
        definitions[name].pop("required", None)
        definitions[name]["title"] = name
    top = definitions.pop("scenario")
    for key, choices in (("device", devices), ("check", checks)):
        pattern = next(iter(top["properties"][key]["patternProperties"]))
        top["properties"][key] = {
            "type": "object",
            "description": top["properties"][key]["description"],
            "propertyNames": {"pattern": pattern},
            "additionalProperties": {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in choices]},
        }
    top["properties"]["include"] = _INCLUDE
    kept = {name: body for name, body in definitions.items() if name in tables or name == "Variant"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": "scenario", "$defs": kept}


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rsplit("/", 1)[-1]
