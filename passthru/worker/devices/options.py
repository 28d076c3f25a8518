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

_ROOTS, _BEFORE, _AFTER = "--roots", "--stop-before", "--stop-after"


def take_options(
    words: list[str], make: Callable[..., System] | None = None
) -> tuple[list[str], Callable[[], System] | None]:
    """The words without these options, and what makes the system that they ask for, None where none is there.

    ``make`` is the class System or one like it. Raises ValueError for an option without its value.
    """
    values = {}
    rest = list(words)
    for option in (_ROOTS, _BEFORE, _AFTER):
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
        return (make or System)(root, before=_death_at(values.get(_BEFORE)), after=_death_at(values.get(_AFTER)))

    return rest, made


def _death_at(step: str | None) -> Callable[[int], None] | None:
    if step is None:
        return None
    last = int(step)

    def die(number: int) -> None:
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return die
