# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the tests of a made project, as a user does."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from textwrap import dedent
from typing import TYPE_CHECKING

from tests.conftest import INSTALLED

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LONGEST = 300.0
"""Seconds after which a pytest under test is taken to hang."""

SPLAT = """
    async def complain(guest):
        lines = ("------------[ cut here ]------------", "WARNING: CPU: 0 PID: 1 at a.c:1 made_up+0x1/0x2",
                 "Call Trace:", " made_up+0x1/0x2", "---[ end trace 0000000000000000 ]---")
        await guest.succeed("".join(f"echo '{line}' >/dev/kmsg;" for line in lines))
"""
"""A helper for the made tests: the guest's kernel complains, as far as its console tells."""


@dataclass(frozen=True)
class Project:
    """A directory with tests."""

    pytester: pytest.Pytester

    @property
    def runs(self) -> list[Path]:
        """The run directories, oldest first."""
        return sorted(path for path in (self.pytester.path / "runs").glob("2*"))

    def write(self, **files: str) -> None:
        """Python files by their names."""
        self.pytester.makepyfile(**{name: dedent(text) for name, text in files.items()})

    def arguments(self, *given: str) -> list[str]:
        """pytest's arguments.

        Without hypothesis, which the project does not use: its plugin imports all of it while the summary is written,
        and what that warns of would be an error there.
        """
        loaded = () if INSTALLED else ("-p", "passthru.pytest_plugin")
        left_out = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
        return [*loaded, *left_out, "--strict-markers", "-ra", *given]

    def command(self, *given: str) -> list[str]:
        """The whole command, for a process that is to be disturbed."""
        return [sys.executable, "-m", "pytest", *self.arguments(*given)]

    def run(self, *given: str) -> pytest.RunResult:
        """Run the tests to their end. One that pytest itself breaks off fails with the reason."""
        result = self.pytester.runpytest_subprocess(*self.arguments(*given), timeout=LONGEST)
        said = result.stderr.str()
        if said.startswith("Traceback"):
            raise AssertionError(f"pytest ended with {result.ret}: " + " | ".join(said.splitlines()[-9:]))
        return result
