# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's first command as an ordinary user of a bare Debian 12 (ci/bare_debian.py): two minutes, and 700 MB."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "ci/bare_debian.py"
WANTED = "PASSTHRU_TEST_BARE_DEBIAN"


def test_the_main_job_in_a_bare_debian() -> None:
    if not os.environ.get(WANTED):
        pytest.skip(f"takes minutes and Debian's mirror: set {WANTED}=1 for it")
    trouble = runpy.run_path(str(SCRIPT))["why_not"]()
    if trouble:
        pytest.skip(trouble)
    done = subprocess.run(
        [sys.executable, SCRIPT, "make run"], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mtty: PASSED" in done.stdout
