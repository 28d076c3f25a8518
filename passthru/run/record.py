# SPDX-License-Identifier: GPL-2.0-or-later
"""The record of one run on its way: its judgements, what it used, how long it took; and what broke it off."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from passthru.check.finding import Finding, Verdict
from passthru.errors import GuestTrouble, MissingCapability, PassthruError, Unusable, UserMistake
from passthru.events import Note
from passthru.run.events import CheckEnded, RunEnded, RunStarted
from passthru.run.outcome import MISTAKE, Judgement, Outcome, blame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.events import Tell
    from passthru.run.directory import RunDirectory
    from passthru.scenario.models import Scenario

RUN = "run"
"""The id and kind of the judgement that stands for the run itself, where it broke off outside of a check."""


class Record:
    """Of a run of ``scenario`` into ``directory``."""

    def __init__(self, scenario: Scenario, directory: RunDirectory, tell: Tell) -> None:
        self.judgements: list[Judgement] = []
        self.used: dict[str, str] = {}
        self.interrupted = False
        """Whether it did not come to its end by somebody's wish."""
        self._scenario = scenario
        self._directory = directory
        self._tell = tell
        self._seconds = 0.0

    def begin(self) -> None:
        """Tell that the run begins."""
        self._tell(RunStarted(self._scenario.name, self._scenario.summary, self._directory.path))

    def begin_again(self, why: str) -> None:
        """Nothing that was found so far counts; ``why`` is told."""
        self.judgements.clear()
        self._tell(Note(why))

    @property
    def failed(self) -> bool:
        """Whether something did not pass."""
        return any(judgement.finding.verdict is not Verdict.PASSED for judgement in self.judgements)

    def add(self, judgement: Judgement) -> None:
        """Take a judgement and tell it."""
        self.judgements.append(judgement)
        self._tell(CheckEnded(judgement))

    def add_of_run(self, finding: Finding) -> None:
        """Take a finding about the run itself."""
        self.add(Judgement(RUN, RUN, finding, 0.0))

    def blame(self, trouble: GuestTrouble) -> None:
        """Take what went wrong with a part, as a finding about the run."""
        self.add_of_run(blame(trouble, self._scenario.subject))

    def mistake(self, mistake: UserMistake) -> None:
        """What only the host shows (it has no such device) is no reason to break off the other runs."""
        self.add_of_run(Finding(Verdict.ERROR, str(mistake), facts={MISTAKE: True}))

    @contextlib.contextmanager
    def timed_and_broken_off_by_errors(self) -> Iterator[None]:
        """Count the time inside, and take what breaks it off; a mistake of the user's passes through."""
        began = time.monotonic()
        try:
            with self.broken_off_by_errors():
                yield
        finally:
            # Its own time: among several, a run waits for its turn between being prepared and being performed.
            self._seconds += time.monotonic() - began

    @contextlib.contextmanager
    def performed(self) -> Iterator[None]:
        """A run is performed inside: interrupted unless it ends; whatever breaks it off is taken, but that."""
        self.interrupted = True
        with self.timed_and_broken_off_by_errors():
            try:
                yield
            except UserMistake as mistake:
                self.mistake(mistake)
        self.interrupted = False

    @contextlib.contextmanager
    def broken_off_by_errors(self) -> Iterator[None]:
        """Take what breaks off what is done inside; a mistake of the user's passes through."""
        try:
            yield
        except UserMistake:
            raise
        except GuestTrouble as trouble:
            self.blame(trouble)
        except MissingCapability as error:
            self.add_of_run(Finding(Verdict.SKIPPED, str(error), facts={"capability": error.capability}))
        except PassthruError as error:
            self.add_of_run(Finding(Verdict.ERROR, str(error)))
        except OSError as error:
            self.add_of_run(Finding(Verdict.ERROR, str(_disk_trouble(error, self._directory))))

    def finish(self) -> Outcome:
        """The outcome, told to the reports."""
        outcome = Outcome(self._scenario.name, tuple(self.judgements), self.used, self.interrupted)
        self._tell(RunEnded(outcome, self._seconds))
        return outcome


def _disk_trouble(error: OSError, directory: RunDirectory) -> Unusable:
    reason = error.strerror or str(error)
    return Unusable(f"cannot write {error.filename or directory.path}: {reason}; name another place with --runs DIR")
