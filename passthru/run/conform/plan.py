# SPDX-License-Identifier: GPL-2.0-or-later
"""What the suite needs where the device is: nothing here; in a rig its kernel and image, and a stub of the user's."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.own_code import files_of, split_reference
from passthru.run.host_plan import HostSide
from passthru.run.lock import write_host_lock
from passthru.run.pins import code_digests, demand_same_code
from passthru.run.script import write_script
from passthru.scenario.loading import resolved
from passthru.vfio.stubs.catalogue import from_file

if TYPE_CHECKING:
    from passthru.events import Tell
    from passthru.host import Host
    from passthru.image.store import Store
    from passthru.run.conform.request import ConformRequest
    from passthru.run.directory import RunDirectory

STUB = "stub"
"""The directory with the user's stub, in the run directory and in a rig."""


@dataclass(frozen=True)
class ConformPlan(HostSide):
    """What the suite needs beside its host."""

    stub: str = ""
    """FILE.py[:CLASS] on this machine; empty where passthru's own are to do."""

    def stub_on(self, host: Host) -> str:
        """The stub as the host has it."""
        named = split_reference(self.stub)
        if named is None:
            return ""
        file, name = named
        there = host.path_of(Path(file))
        return f"{there}:{name}" if name else there


def make_plan(request: ConformRequest, directory: RunDirectory, store: Store, tell: Tell) -> ConformPlan:
    """Find, fetch and build what ``request`` needs, and leave scenario, lock file and ``qemu.sh`` in ``directory``.

    Blocks. Raises Unusable, UserMistake (also for a stub that is none), OSError.
    """
    scenario = request.scenario
    directory.scenario.write_text(json.dumps(resolved(scenario), indent=2) + "\n")
    demand_same_code(scenario, request.pins.code)
    stub, files = _stub(request.options.stub, directory)
    code = {**code_digests(scenario), **{file: hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files}}
    rig = None
    if scenario.host.kind == "rig":
        from passthru.run.rig_plan import plan_rig  # what needs no rig does without

        brought = {STUB: directory.path / STUB} if stub else {}
        rig = plan_rig(scenario, None, brought, store, tell, request.pins)
    plan = ConformPlan(scenario, rig, stub)
    write_host_lock(directory.lock, plan, code)
    write_script(plan, directory)
    return plan


def _stub(reference: str, directory: RunDirectory) -> tuple[str, tuple[str, ...]]:
    """The stub of the user's, copied into the run directory with what it imports from beside it; and its files."""
    if not reference:
        return "", ()
    from_file(reference)  # what is wrong with it is told before anything is booted
    file, name = split_reference(reference) or ("", "")
    home = Path(file).absolute().parent
    for each in files_of(file):
        copy = directory.path / STUB / Path(each).relative_to(home)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(each, copy)
    own = directory.path / STUB / Path(file).name
    return f"{own}:{name}" if name else str(own), files_of(file)
