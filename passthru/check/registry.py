# SPDX-License-Identifier: GPL-2.0-or-later
"""The checks that a scenario can ask for, each a module that is imported when it is used.

``use`` is the name of one of passthru's, ``FILE.py`` or ``FILE.py:NAME`` for one of the user's own, or the name of an
entry point that an installed package has in the group ``passthru.checks``.

A check module holds ``Options``, the pydantic model of its table (a CheckOptions), and
``async def judge(context, options) -> Finding``. What it raises means: MissingCapability, skipped; any other
PassthruError, the harness or the guest is in trouble and the runner says whose fault it is.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from passthru import installed
from passthru.check.finding import Finding, Verdict
from passthru.check.options import CheckOptions
from passthru.errors import MissingCapability, PassthruError
from passthru.own_code import (
    OwnCodeError,
    files_of,
    load_file,
    place_of,
    sentence,
    split_reference,
    users_traceback,
)

if TYPE_CHECKING:
    from passthru.check.context import Context

_MODULES = {
    "lspci": "passthru.check.lspci",
    "setserial": "passthru.check.setserial",
    "serial-loopback": "passthru.check.serial_loopback",
    "interrupts": "passthru.check.interrupts",
    "dmesg": "passthru.check.dmesg",
    "command": "passthru.check.command",
    "dma": "passthru.check.dma",
    "hotplug": "passthru.check.hotplug",
    "reboot": "passthru.check.reboot",
    "serial-outside": "passthru.check.serial_outside",
    "network": "passthru.check.network",
    "rtc": "passthru.check.rtc",
    "fsl-mc": "passthru.check.fsl_mc",
    "host-command": "passthru.check.host_command",
    "conform": "passthru.check.conform",
}


class Check(Protocol):
    """What a check module is."""

    Options: type[CheckOptions]

    @staticmethod
    async def judge(context: Context, options: CheckOptions) -> Finding: ...


@dataclass(frozen=True)
class _Own:
    """A check of the user's; ``root`` is the directory (or file) whose lines errors name."""

    check: Check
    root: str
    files: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """The names of passthru's own checks."""
    return tuple(_MODULES)


def check(use: str) -> Check:
    """The check behind ``use``; raises KeyError for an unknown name, OwnCodeError for what is wrong in a user's."""
    if use in _MODULES:
        return cast("Check", import_module(_MODULES[use]))
    return _own(use).check


def files(use: str) -> tuple[str, ...]:
    """The user's files that a check comes from; none for passthru's and installed ones."""
    return () if use in _MODULES else _own(use).files


async def judge(context: Context, options: CheckOptions) -> Finding:
    """Run the check that ``options`` asks for, within the context's deadline.

    A missing capability becomes the verdict skipped; every other PassthruError passes through. Any other exception of
    a user's check becomes the verdict error, with the traceback reduced to the user's lines.
    """
    try:
        for module in options.modules:
            if module in context.missing:
                raise context.missing[module]
        if options.use in _MODULES:
            return await check(options.use).judge(context, options)
        return await _judge_own(_own(options.use), context, options)
    except MissingCapability as missing:
        return Finding(Verdict.SKIPPED, str(missing), facts={"capability": missing.capability})


async def _judge_own(own: _Own, context: Context, options: CheckOptions) -> Finding:
    try:
        finding: object = await own.check.judge(context, options)
    except PassthruError:
        raise
    except Exception as error:
        said = sentence(error, own.root, otherwise=options.use)
        return Finding(Verdict.ERROR, f"the check broke: {said}", (users_traceback(error, own.root),))
    if isinstance(finding, Finding):
        return finding
    place = _place(own.check.judge)
    return Finding(Verdict.ERROR, f"the check broke: {place}: judge returned {type(finding).__name__}, not a Finding")


@cache
def _own(use: str) -> _Own:
    if reference := split_reference(use):
        file, name = reference
        module = load_file(file)
        path = str(module.__file__)
        found: Any = module
        for part in name.split(".") if name else ():
            found = getattr(found, part, None)
        if found is None:
            raise OwnCodeError(f"{path}: has no {name}; a check is a module, or a class in it, with Options and judge")
        place = place_of(path, name) if name else path
        return _Own(_checked(found, place), str(path.rpartition("/")[0]), files_of(path))
    point = installed.find(installed.CHECKS, use)
    if point is None:
        raise KeyError(use)
    found, root = installed.load(point)
    return _Own(_checked(found, f"the entry point {use} ({point.value})"), str(root))


def _checked(found: Any, place: str) -> Check:
    """What was found, as a check. Raises OwnCodeError where it is none."""
    options = getattr(found, "Options", None)
    if options is None:
        raise OwnCodeError(f"{place}: has no Options; derive a class Options from passthru.check.options.CheckOptions")
    if not isinstance(options, type) or not issubclass(options, CheckOptions):
        raise OwnCodeError(f"{place}: its Options are not derived from passthru.check.options.CheckOptions")
    judging = getattr(found, "judge", None)
    if judging is None:
        raise OwnCodeError(f"{place}: has no judge; write async def judge(context, options) -> Finding")
    if not inspect.iscoroutinefunction(judging):
        raise OwnCodeError(f"{_place(judging) or place}: judge is no async function; write async def judge")
    try:
        inspect.signature(judging).bind(None, None)
    except TypeError as error:
        raise OwnCodeError(
            f"{_place(judging)}: judge takes other arguments than (context, options); in a class it is a staticmethod"
        ) from error
    try:
        options.model_rebuild()
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise OwnCodeError(f"{place}: a type of its Options cannot be told: {said}; import it at run time") from error
    return cast("Check", found)


def _place(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else ""
