# SPDX-License-Identifier: GPL-2.0-or-later
"""The qemu.sh of a run with a rig, by hand: the steps that it shows, typed in the rig's shell, bring the guest up."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.e2e.harness import LONGEST

if TYPE_CHECKING:
    from tests.e2e.harness import Command

PROMPT = "/ # "
GUEST = r"\] ACPI: \\_SB_\.LNK"
"""What the guest's kernel says of an interrupt of its devices; the rig's kernel has APICs."""


@pytest.mark.parametrize("scenario", ["pci-serial", "mtty-mdev"])
def test_the_steps_that_qemu_sh_shows_start_the_guest(passthru: Command, scenario: str) -> None:
    ended = passthru("run", scenario, "--set", "check={}")
    script = ended.directory / "qemu.sh"
    shell = pexpect.spawn(str(script), encoding="utf-8", codec_errors="replace", timeout=LONGEST)
    try:
        shell.expect_exact(PROMPT)
        shown = re.findall(r"^  (.+?)\r*$", shell.before or "", re.MULTILINE)
        assert any("modprobe" in line for line in shown)
        for line in shown[:-1]:
            shell.sendline(line)
            shell.expect_exact("\n> " if line.endswith("\\") else PROMPT)
        shell.sendline(shown[-1])
        assert shell.expect([GUEST, r"\nqemu-system-\w+: -"]) == 0, shell.before
    finally:
        shell.close(force=True)
