# SPDX-License-Identifier: GPL-2.0-or-later
"""The bug hunter's handles on one run: traces, a debugger, no deadlines, a guest that stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.qemu.tracing import trace_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan
    from passthru.scenario.models import Scenario

GDB = "gdb"
MONITOR = "monitor"


@dataclass(frozen=True)
class Handles:
    """What to do beside running and judging."""

    trace: tuple[str, ...] = ()
    """Patterns of QEMU's trace events, written into the run directory."""
    gdb: bool = False
    """The guest waits for a debugger before its first instruction; nobody has a deadline."""
    no_deadlines: bool = False
    """Every wait is without end, for a debugger elsewhere."""
    keep: bool = False
    """The guest stays after the checks, until the user interrupts."""

    @property
    def limitless(self) -> bool:
        """Whether nobody has a deadline."""
        return self.no_deadlines or self.gdb

    def qemu_arguments(self, plan: Plan, directory: RunDirectory) -> tuple[str, ...]:
        """QEMU's further arguments; sockets are written ``{socket:NAME}``. Raises UserMistake, Unusable.

        In a rig QEMU prints its traces, since it cannot write here, and its sockets cannot be reached from here.
        """
        if plan.rig is not None:
            if self.gdb:
                raise UserMistake(
                    "--gdb: a guest in a rig cannot be reached by a debugger of this machine; try the scenario's device"
                    ' with host.kind = "local", or debug the rig itself, with the script qemu.sh of its run directory'
                )
            return trace_arguments(plan.rig.inner or plan.qemu, self.trace, None)
        arguments = list(trace_arguments(plan.qemu, self.trace, directory.qemu_trace))
        if self.gdb:
            arguments += ["-S", "-chardev", _server(GDB), "-gdb", f"chardev:{GDB}"]
        if self.keep:
            arguments += ["-chardev", _server(MONITOR), "-mon", f"chardev={MONITOR},mode=readline"]
        return tuple(arguments)

    def demand_none(self, scenario: Scenario) -> None:
        """Raise UserMistake where a handle is wanted that is for a guest; ``scenario`` has none."""
        wanted = {"--trace": self.trace, "--gdb": self.gdb, "--keep": self.keep}
        for option in (option for option, given in wanted.items() if given):
            raise UserMistake(
                f'{option} is for a guest, and {scenario.name} has none ([guest] kind = "none"); leave it out, or debug'
                " its host with the script qemu.sh of the run directory"
            )

    def advice(self, argv: Sequence[str]) -> list[str]:
        """How a person takes hold of the guest, by the arguments that QEMU was really started with."""
        told = []
        if self.gdb:
            told.append(f"the guest waits for gdb: gdb -ex 'target remote {_path(GDB, argv)}' VMLINUX, then continue")
        if any(word.startswith(f"socket,id={MONITOR},") for word in argv):
            told.append(f"QEMU's monitor: nc -U {_path(MONITOR, argv)}")
        return told


def _path(name: str, argv: Sequence[str]) -> str:
    start = f"socket,id={name},path="
    return next(word.removeprefix(start).partition(",")[0] for word in argv if word.startswith(start))


def _server(name: str) -> str:
    return f"socket,id={name},path={{socket:{name}}},server=on,wait=off"
