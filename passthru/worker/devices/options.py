# SPDX-License-Identifier: GPL-2.0-or-later
"""Words of the worker's command line for tests: another machine's root, and a death at a given step.

--roots DIR        handle the devices of the machine whose /sys, /proc, /dev and /run are under DIR
--stop-before N    die by SIGKILL when the Nth step is journaled and not yet done or undone, counted from 1
--stop-after N     die by SIGKILL when the Nth step is done or undone, before anything is written about that
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.worker.devices.system import System

_ROOTS, _BEFORE, _AFTER, _WITH = "--roots", "--stop-before", "--stop-after", "--stop-with"


def take_options(
    words: list[str], make: Callable[..., System] | None = None
) -> tuple[list[str], Callable[[], System] | None]:
    """The words without these options, and what makes the system that they ask for, None where none is there.

    ``make`` is the class System or one like it. Raises ValueError for an option without its value.
    """
    values = {}
    rest = list(words)
    for option in (_ROOTS, _BEFORE, _AFTER, _WITH):
        if option in rest:
            at = rest.index(option)
            if len(rest) == at + 1 or (option != _ROOTS and not rest[at + 1].isdecimal()):
                raise ValueError(f"{option} needs a {'directory' if option == _ROOTS else 'number'}")
            values[option] = rest[at + 1]
            del rest[at : at + 2]
    if not values and make is None:
        return rest, None

    def made() -> System:
        from passthru.worker.devices.system import System

        root = os.path.abspath(values.get(_ROOTS, "/"))  # noqa: PTH100
        signum = int(values.get(_WITH, signal.SIGKILL))
        before, after = (_stop_at(values.get(option), signum) for option in (_BEFORE, _AFTER))
        return (make or System)(root, before=before, after=after)

    return rest, made


def _stop_at(step: str | None, signum: int) -> Callable[[int], None] | None:
    if step is None:
        return None
    last = int(step)

    def stop(number: int) -> None:
        if number == last:
            os.kill(os.getpid(), signum)

    return stop
