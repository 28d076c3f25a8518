# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks that a scenario can ask for, each a module that is imported when it is used.

A check module holds ``Options``, the pydantic model of its table (a CheckOptions), and
``async def judge(context, options) -> Finding``. What it raises means: MissingCapability, skipped; any other
PassthruError, the harness or the guest is in trouble and the runner says whose fault it is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from passthru.check.finding import Finding, Verdict
from passthru.errors import MissingCapability

if TYPE_CHECKING:
    from passthru.check.context import Context
    from passthru.check.options import CheckOptions

_MODULES = {
    "lspci": "passthru.check.lspci",
    "setserial": "passthru.check.setserial",
    "serial-loopback": "passthru.check.serial_loopback",
    "interrupts": "passthru.check.interrupts",
    "dmesg": "passthru.check.dmesg",
    "command": "passthru.check.command",
}


class Check(Protocol):
    """What a check module is."""

    Options: type[CheckOptions]

    @staticmethod
    async def judge(context: Context, options: CheckOptions) -> Finding: ...


def names() -> tuple[str, ...]:
    """The values that ``use`` may have."""
    return tuple(_MODULES)


def check(name: str) -> Check:
    """The check module behind ``use = name``; raises KeyError for an unknown one."""
    return cast("Check", import_module(_MODULES[name]))


async def judge(context: Context, options: CheckOptions) -> Finding:
    """Run the check that ``options`` asks for, within the context's deadline.

    A missing capability becomes the verdict skipped; every other PassthruError passes through.
    """
    try:
        return await check(options.use).judge(context, options)
    except MissingCapability as missing:
        return Finding(Verdict.SKIPPED, str(missing), facts={"capability": missing.capability})
