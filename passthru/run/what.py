# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be run: scenarios by name, file or directory, or a run directory whose versions are pinned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.run.directory import RunDirectory, is_run_directory
from passthru.run.pins import Pins, read_pins
from passthru.scenario.library import find
from passthru.scenario.loading import load

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from passthru.scenario.models import Scenario


@dataclass(frozen=True)
class Request:
    """One scenario to run; ``pins`` are the versions that a lock file demands."""

    scenario: Scenario
    pins: Pins = field(default_factory=Pins)


def requests(named: Iterable[str], overrides: Sequence[str] = ()) -> list[Request]:
    """All that ``named`` stands for, with ``overrides`` (texts of ``--set``) applied.

    Every scenario is loaded and validated before the first one runs. Raises ScenarioError, UserMistake.
    """
    return [request for name in named for request in _requests(name, overrides)]


def the_request(name: str, overrides: Sequence[str] = ()) -> Request:
    """The one scenario that ``name`` stands for; raises UserMistake where it stands for several."""
    found = _requests(name, overrides)
    if len(found) != 1:
        raise UserMistake(f"{name} holds {len(found)} scenarios, and one is wanted: name its file")
    return found[0]


def _requests(name: str, overrides: Sequence[str]) -> list[Request]:
    path = Path(name)
    if path.is_dir() and is_run_directory(path):
        directory = RunDirectory(path.resolve())
        scenario, before = load(directory.scenario, overrides), load(directory.scenario)
        return [Request(scenario, _still_wanted(read_pins(directory.lock), scenario, before))]
    return [Request(load(file, overrides)) for file in find(name)]


def _still_wanted(pins: Pins, scenario: Scenario, before: Scenario) -> Pins:
    """The pins without those of what the user asks for anew: ``passthru run RUNDIR --kernel OTHER``."""
    if scenario.guest.qemu != before.guest.qemu:
        pins = replace(pins, qemu=None)
    if scenario.guest.kernel != before.guest.kernel:
        pins = replace(pins, kernel=None)
    if scenario.guest.image != before.guest.image:
        pins = replace(pins, packages=None)
    return pins
