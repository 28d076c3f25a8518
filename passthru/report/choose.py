# SPDX-License-Identifier: GPL-2.0-or-later
"""The report that suits where the output goes: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.events import Tell


@contextlib.contextmanager
def listener(*, brief: bool = False) -> Iterator[Tell]:
    """A listener for standard output; ``brief`` for several runs, of which only the verdicts matter."""
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from passthru.report.terminal import Terminal

        with Terminal(brief=brief) as terminal:
            yield terminal
    else:
        from passthru.report.lines import Lines

        yield Lines(brief=brief)
