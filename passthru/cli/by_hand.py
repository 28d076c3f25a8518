# SPDX-License-Identifier: GPL-2.0-or-later
"""What the commands share that change devices of this machine by hand: its worker, and the way to root's rights."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from passthru.errors import Unusable
    from passthru.host import Host

T = TypeVar("T")

_ROOTS = (os.strerror(errno.EACCES), os.strerror(errno.EPERM), "as root", "this user may not")
"""What the worker's sentences say where root's rights would help."""


def on_this_host(work: Callable[[Host], Coroutine[Any, Any, T]], tell: Callable[[T], None]) -> None:
    """Do ``work`` with a worker of this machine, and ``tell`` what came of it, even where Ctrl-C came meanwhile.

    A second Ctrl-C ends this process at once; the worker then ends by itself what it has begun. Raises UserMistake,
    Unusable, which says how to get root's rights where they were lacking, KeyboardInterrupt.
    """
    from passthru.errors import Unusable
    from passthru.run.signals import interruptible, run_async

    try:
        with interruptible():
            run_async(_performed(work, tell))
    except Unusable as error:
        raise with_way_to_root(error) from error


async def _performed(work: Callable[[Host], Coroutine[Any, Any, T]], tell: Callable[[T], None]) -> None:
    from passthru.deadline import Deadline
    from passthru.events import Event, Note
    from passthru.host import open_local_host
    from passthru.host.local import undisturbed

    def note(event: Event) -> None:
        if isinstance(event, Note):
            typer.echo(event.text, err=True)

    async with open_local_host(deadline=Deadline(), tell=note) as host:

        async def told() -> None:
            tell(await work(host))

        # Half of a change is never seen: the worker answers once all of it is made, or undone.
        await undisturbed(told())


def with_way_to_root(error: Unusable) -> Unusable:
    """The same error; where this user's rights were too few, with the command that gives them."""
    if os.geteuid() == 0 or not any(words in str(error) for words in _ROOTS):
        return error
    return type(error)(f"{error}; to do so: {root_command()}")


def root_command() -> str:
    """This very command by sudo, with the passthru that runs now: root's PATH is another one."""
    program = Path(sys.argv[0])
    own = [str(program.absolute())]
    if program.name == "__main__.py" or not program.is_file() or not os.access(program, os.X_OK):
        own = [sys.executable, "-m", "passthru"]
    return shlex.join(["sudo", *own, *sys.argv[1:]])
