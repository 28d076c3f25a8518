# SPDX-License-Identifier: GPL-2.0-or-later
"""The factory behind the fixtures: it boots guests, which live until its fixture ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from passthru.errors import PassthruError, Unusable, UserMistake
from passthru.events import Note
from passthru.pytest_plugin import needs
from passthru.pytest_plugin.in_code import request_for
from passthru.pytest_plugin.machine import Machine, wrong_loop
from passthru.pytest_plugin.record import Record
from passthru.report.run_directory import reports_in
from passthru.run.booted import booted, prepare
from passthru.run.directory import create
from passthru.run.events import RunEnded, RunStarted
from passthru.run.one_run import used
from passthru.run.outcome import Outcome
from passthru.run.runner import Planner
from passthru.worker.descriptors import fill_standard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from passthru.events import Event, Tell
    from passthru.pytest_plugin.ledger import Ledger
    from passthru.run.directory import RunDirectory
    from passthru.run.plan import Plan
    from passthru.run.what import Request
    from passthru.scenario.models import Scenario


class Boot:
    """Boots guests: ``machine = await boot("mtty")``."""

    def __init__(self, ledger: Ledger, stack: contextlib.AsyncExitStack, *, shared: bool, loop_scope: str) -> None:
        self._ledger = ledger
        self._stack = stack
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._loop_scope = loop_scope

    async def __call__(self, what: str | Path | Scenario, *overrides: str) -> Machine:
        """Boot ``what``: a scenario by its name or file, a run directory, or one made by ``scenario()``.

        ``overrides`` are texts as of ``--set``: ``"device.mtty0.ports=1"``. Raises PassthruError: UserMistake for a
        wrong scenario, Unusable, GuestTrouble or DeadlineExceeded where no guest comes up.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise UserMistake(wrong_loop("this factory boots", self._loop_scope))
        fill_standard()  # of a pytest that was started without stdin, say
        with _interruptible():
            request = request_for(what, (*overrides, *self._ledger.options.overrides))
            directory = create(self._ledger.options.runs.absolute(), request.scenario.name)
        return await self._stack.enter_async_context(self._machine(request, directory))

    def now(self, what: str | Path | Scenario, *overrides: str) -> Machine:
        """The same from a fixture that is not async, while no event loop runs. What fails, fails the test with its
        sentence."""
        task = self._loop.create_task(self(what, *overrides))
        try:
            return self._loop.run_until_complete(task)
        except PassthruError as error:
            pytest.fail(str(error), pytrace=False)
        finally:
            if not task.done():  # a Ctrl-C: what has been started is taken down again
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)

    @contextlib.asynccontextmanager
    async def _machine(self, request: Request, directory: RunDirectory) -> AsyncIterator[Machine]:
        ledger = self._ledger
        record = Record(request.scenario.name, directory.path)
        ledger.touch(record)
        with contextlib.ExitStack() as reports:
            tell = _noting(record, reports.enter_context(reports_in(directory)))
            began = time.monotonic()
            tell(RunStarted(request.scenario.name, request.scenario.summary, directory.path))
            plan = self._prepare(request, directory, tell)
            record.used = _made_of(plan)
            if not self._shared and ledger.item is not None:
                needs.require_of_plan(ledger.item, plan, ledger.options.no_skip)
            async with booted(plan, directory, ledger.store, tell, load=ledger.load) as (plan_in_use, stage, _):
                if plan_in_use is not plan:  # KVM has failed: do not try it for each guest
                    ledger.planner = Planner(ledger.store)
                    record.used = _made_of(plan_in_use)
                record.kernel_log = stage.guest.kernel_log
                machine = Machine(
                    plan_in_use,
                    stage,
                    record,
                    tell,
                    loop_scope=self._loop_scope,
                    no_skip=ledger.options.no_skip,
                    touched=lambda: ledger.touch(record, machine),
                )
                machine.touch()
                try:
                    yield machine
                finally:
                    machine.open = False
                    outcome = Outcome(request.scenario.name, tuple(machine.judgements), used(plan_in_use))
                    tell(RunEnded(outcome, time.monotonic() - began))

    def _prepare(self, request: Request, directory: RunDirectory, tell: Tell) -> Plan:
        # It blocks, and so the loop as well: a Ctrl-C ends a fetch that way, as it would not in a thread.
        try:
            with _interruptible():
                return prepare(request, directory, self._ledger.planner.plan_with_guest, tell)
        except OSError as error:
            raise Unusable(
                f"cannot write the run directory {directory.path}: {error.strerror}; name another place with "
                "--passthru-runs DIR"
            ) from error


def _noting(record: Record, report: Tell) -> Tell:
    def tell(event: Event) -> None:
        report(event)
        if isinstance(event, Note):
            record.notes.append(event.text)

    return tell


def _made_of(plan: Plan) -> str:
    words = used(plan)
    return f"{words['qemu']}, kernel {words['kernel']}, {words['accelerator']}"


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """A Ctrl-C in blocking code raises KeyboardInterrupt at once; asyncio would only note it for later."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
