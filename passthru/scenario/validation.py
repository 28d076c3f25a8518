# SPDX-License-Identifier: GPL-2.0-or-later
"""From the merged tree of a scenario's files to the frozen models; all problems are collected before any is told."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from passthru import installed
from passthru.check import registry
from passthru.check.again import strangers
from passthru.errors import ScenarioError
from passthru.own_code import OwnCodeError
from passthru.scenario import device_models
from passthru.scenario.device_models import BUSES, like
from passthru.scenario.fitting import of_host, virtual_functions
from passthru.scenario.guestless import around_guest, guest_table
from passthru.scenario.hosts import HostSpec, LocalHost, RigHost
from passthru.scenario.models import CompanionDevice, DeviceSpec, Scenario
from passthru.scenario.places import absolute
from passthru.scenario.problems import Problem, choice, from_pydantic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from passthru.check.options import CheckOptions
    from passthru.scenario.files import KeyPath, Merged

Kind = TypeVar("Kind", bound=BaseModel)

_SLOTS = [f"{slot:02x}.0" for slot in range(0x05, 0x1F)]


def validated(merged: Merged) -> Scenario:
    """The scenario of a merged tree; raises ScenarioError with one line for each problem."""
    tree = absolute(_frozen(merged.tree), merged)
    problems: list[Problem] = []
    host = _host(tree.get("host", {}), problems)
    devices = _tables(_filled_in(_placed(tree.get("device", {}))), "device", _device_type, problems)
    checks = _tables(tree.get("check", {}), "check", _check_type, problems)
    head = {"name": _name_from(merged), **tree, "device": devices, "check": checks}
    if (guest := guest_table(host, tree.get("guest"), problems)) is not None:
        head["guest"] = guest
    if host is not None:
        head["host"] = host
    else:
        head.pop("host", None)  # told already
    scenario = _model(Scenario, head, (), problems)
    problems += _across(tree, devices, checks)
    problems += of_host(host, tree.get("guest"), devices)
    problems += around_guest(tree, host, devices, checks)
    if "device" not in tree and "check" not in tree:
        problems.append(Problem((), "has neither a [device.ID] nor a [check.ID] table, so there is nothing to run"))
    if problems or scenario is None:
        problems.sort(key=lambda problem: merged.order(problem.path))
        raise ScenarioError("\n".join(problem.sentence(merged) for problem in problems))
    return scenario


def _name_from(merged: Merged) -> str:
    return re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9_.-]+", "-", merged.main.path.stem).strip("-") or "scenario"


def _frozen(node: Any) -> Any:
    """A copy of the tree with tuples for lists, as the models have them."""
    if isinstance(node, dict):
        return {key: _frozen(value) for key, value in node.items()}
    return tuple(map(_frozen, node)) if isinstance(node, list) else node


def _placed(tables: Any) -> Any:
    """The device tables, with a free slot for each that names none."""
    if not isinstance(tables, dict):
        return tables
    taken = [table.get("address") for table in tables.values() if isinstance(table, dict)]
    free = iter([slot for slot in _SLOTS if slot not in taken])
    return {
        name: {**table, "address": next(free, "")} if isinstance(table, dict) and "address" not in table else table
        for name, table in tables.items()
    }


def _filled_in(tables: Any) -> Any:
    """The device tables, with what follows from other keys of theirs."""
    if not isinstance(tables, dict):
        return tables
    most = virtual_functions(tables)
    return {
        name: {**like(table), **most.get(name, {}), **table} if isinstance(table, dict) else table
        for name, table in tables.items()
    }


def _host(table: Any, problems: list[Problem]) -> HostSpec | None:
    """The model of the table ``[host]``; None where it is none, which is told."""
    if not isinstance(table, dict):
        problems.append(Problem(("host",), "should be a table"))
        return None
    kind: type[HostSpec] = RigHost if table.get("kind") == "rig" else LocalHost
    if kind is LocalHost and table.get("kind", "local") == "local":
        of_rig = [key for key in table if key in RigHost.model_fields and key not in LocalHost.model_fields]
        if of_rig:
            problems += (Problem(("host", key), 'is for a rig; add kind = "rig"') for key in of_rig)
            return None
    return _model(kind if table.get("kind", "local") in ("local", "rig") else HostSpec, table, ("host",), problems)


def _tables(
    tables: Any,
    key: str,
    type_of: Callable[[Mapping[str, Any]], type[Kind] | Problem],
    problems: list[Problem],
) -> dict[str, Kind]:
    """The models of all tables ``[key.ID]``; each becomes the type that its own keys ask for."""
    found: dict[str, Kind] = {}
    if not isinstance(tables, dict):
        problems.append(Problem((key,), f"should be tables [{key}.ID]"))
        return found
    for name, table in tables.items():
        path = (key, name)
        if not isinstance(table, dict):
            problems.append(Problem(path, "should be a table"))
            continue
        kind = type_of(table)
        if isinstance(kind, Problem):
            problems.append(Problem((*path, *kind.path), kind.text))
        elif (model := _model(kind, table, path, problems)) is not None:
            found[name] = model
    return found


def _device_type(table: Mapping[str, Any]) -> type[DeviceSpec] | Problem:
    if "bus" not in table:
        return Problem(("bus",), f"is missing; there are: {', '.join(BUSES)}")
    if not isinstance(table["bus"], str) or table["bus"] not in BUSES:
        return Problem(("bus",), choice(table["bus"], BUSES, "bus"))
    model, bus = table.get("model", ""), table["bus"]
    if model == "":
        if bus != device_models.SERVED:
            return BUSES[bus]
        if table.get("companion") is not None:
            return CompanionDevice
        return Problem(("model",), f"is missing; there are: {', '.join(device_models.models())}")
    try:
        return device_models.device_type(_name(model), bus)
    except KeyError:
        known = (*device_models.models(), *installed.names(installed.MODELS))
        return Problem(("model",), choice(model, known, "device model"))
    except OwnCodeError as error:
        return Problem(("model",), str(error))


def _check_type(table: Mapping[str, Any]) -> type[CheckOptions] | Problem:
    if "use" not in table:
        return Problem(("use",), f"is missing; there are: {', '.join(registry.names())}")
    use = table["use"]
    try:
        return registry.check(_name(use)).Options
    except KeyError:
        return Problem(("use",), choice(use, (*registry.names(), *installed.names(installed.CHECKS)), "check"))
    except OwnCodeError as error:
        return Problem(("use",), str(error))


def _name(value: object) -> str:
    """A value that is to be a name; raises KeyError, as for an unknown one, where it is no string."""
    if not isinstance(value, str):
        raise KeyError(value)
    return value


def _model(kind: type[Kind], table: Any, path: KeyPath, problems: list[Problem]) -> Kind | None:
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problems += from_pydantic(error, kind, table, path)
        return None


def _across(
    tree: Mapping[str, Any], devices: Mapping[str, DeviceSpec], checks: Mapping[str, CheckOptions]
) -> Iterator[Problem]:
    """What no table can know by itself: devices that are named but not there, slots that are taken twice."""
    named = tree.get("device", {})
    for check, options in checks.items():
        if options.device is None:
            continue
        if options.device not in named:
            yield Problem(("check", check, "device"), choice(options.device, named, "device"))
        elif options.device in devices:
            yield from _variants(check, options, devices[options.device])
    for check, text in strangers(checks, tree.get("check", {})):
        yield Problem(("check", check, "then"), text)
    holders: dict[str, str] = {}
    for name, device in devices.items():
        if (other := holders.setdefault(device.address, name)) != name:
            yield Problem(("device", name, "address"), f"is {device.address}, where {other} is already")


def _variants(check: str, options: CheckOptions, device: DeviceSpec) -> Iterator[Problem]:
    for index, variant in enumerate(getattr(options, "variant", ())):
        for option in variant.when:
            if option not in device.options:
                text = choice(option, device.options, f"option of model {device.model}")
                yield Problem(("check", check, "variant", index, "when", option), text)
