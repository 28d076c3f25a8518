# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios and checks written in Python: the same validation and the same sentences as for a TOML file."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.check import registry
from passthru.errors import PassthruError
from passthru.run.what import Request, the_request
from passthru.scenario.loading import of_tree, resolved
from passthru.scenario.models import Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.check.options import CheckOptions
    from passthru.scenario.models import Subject


def device(model: str, *, bus: str = "vfio-user", address: str | None = None, **options: Any) -> dict[str, Any]:
    """A device of a model, with the model's own options: ``device("mtty", ports=1)``.

    ``address`` is its slot in the guest ("05.0"), the first free one by default.
    """
    place = {} if address is None else {"address": address}
    return {"bus": bus, "model": model, **place, **options}


def scenario(
    name: str = "guest",
    *,
    kernel: str | None = None,
    qemu: str | None = None,
    machine: str | None = None,
    memory: str | None = None,
    cpus: int | None = None,
    modules: Sequence[str] = (),
    cmdline: str = "",
    quirks: Sequence[str] = (),
    devices: Mapping[str, Mapping[str, Any]] | None = None,
    checks: Mapping[str, Mapping[str, Any]] | None = None,
    subject: Sequence[Subject] = ("device",),
    deadline: float | None = None,
    **guest: Any,
) -> Scenario:
    """A scenario without a TOML file; what is left out has the scenario's own default.

    ``kernel`` to ``quirks`` and whatever is in ``guest`` are keys of the table [guest], ``devices`` and ``checks`` the
    tables by their ids, ``deadline`` the seconds until the guest must be up (before scaling). Raises ScenarioError, a
    line for each thing that is wrong.
    """
    given = {"kernel": kernel, "qemu": qemu, "machine": machine, "memory": memory, "cpus": cpus}
    table: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    table |= {"modules": list(modules), "cmdline": cmdline, "quirks": list(quirks), **guest}
    tree: dict[str, Any] = {
        "name": name,
        "subject": list(subject),
        "guest": table,
        "device": _plain(devices or {}),
        "check": _plain(checks or {}),
    }
    if deadline is not None:
        tree["deadline"] = float(deadline)
    return of_tree(tree, _caller())


def request_for(what: str | Path | Scenario, set_texts: Sequence[str]) -> Request:
    """What is to be booted, by a scenario's name or file, a run directory, or as a Scenario; overridden by ``--set``
    texts. Raises UserMistake."""
    if not isinstance(what, Scenario):
        return the_request(str(what), set_texts)
    return Request(of_tree(resolved(what), what.name, set_texts) if set_texts else what)


def check_options(use: str, options: Mapping[str, Any], scenario: Scenario) -> CheckOptions:
    """The options of one check; raises ScenarioError. One that wants a device and names none gets the scenario's only
    one."""
    table = {"use": use, **_plain(options)}
    if "device" not in table and len(scenario.device) == 1 and _wants_device(use):
        table["device"] = next(iter(scenario.device))
    name = re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9_.-]+", "-", use).strip("-") or "check"
    tree = {**resolved(scenario), "check": {name: table}}
    return of_tree(tree, _caller()).check[name]


def _wants_device(use: str) -> bool:
    try:
        return registry.check(use).Options.model_fields["device"].is_required()
    except (KeyError, PassthruError):  # the validation has the sentence
        return False


def _plain(value: Any) -> Any:
    """Mappings and sequences as a TOML file gives them: dicts and lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _caller() -> str:
    """The file and line of the code outside of passthru that got us here, as the place of what is wrong in it."""
    here = str(Path(__file__).resolve().parent.parent)
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
