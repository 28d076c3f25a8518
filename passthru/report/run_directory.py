# SPDX-License-Identifier: GPL-2.0-or-later
"""The reports that every run leaves in its run directory: events.jsonl as it goes, junit.xml at its end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from passthru.errors import Unusable
from passthru.report import junit
from passthru.report.jsonl import EventLog
from passthru.run.events import RunEnded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.events import Event, Tell
    from passthru.run.directory import RunDirectory


@contextlib.contextmanager
def reports_in(directory: RunDirectory) -> Iterator[Tell]:
    """A listener that writes the reports of one run into its directory."""
    with EventLog(directory.events) as log:

        def listen(event: Event) -> None:
            log(event)
            if isinstance(event, RunEnded):
                # A disk that is full by now has its say elsewhere; the verdict stands.
                with contextlib.suppress(Unusable):
                    junit.write(directory.junit, [event.outcome])

        yield listen
