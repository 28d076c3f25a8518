# SPDX-License-Identifier: GPL-2.0-or-later
"""``dmesg``: the guest's kernel said what it should, and did not complain (BUG, WARNING, Oops and their like)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationInfo, field_validator

from passthru.check.expected import adapted, filled_in, refuse_idle_variants
from passthru.check.finding import Finding, judged
from passthru.check.options import CheckOptions, Pattern, Variant

if TYPE_CHECKING:
    from passthru.check.context import Context

_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^]]*\])? ")


class Options(CheckOptions):
    """A check with ``use = "dmesg"``; ``{address}`` in a pattern is the device's address in the guest."""

    use: Literal["dmesg"]
    expect: tuple[Pattern, ...] = ()
    """Patterns, each of which is found in one message at least."""
    refuse: tuple[Pattern, ...] = ()
    """Patterns that are found in no message."""
    variant: tuple[Variant, ...] = ()
    """How the patterns change with the device's options."""

    @field_validator("variant")
    @classmethod
    def _finding_lines(cls, variants: tuple[Variant, ...], info: ValidationInfo) -> tuple[Variant, ...]:
        refuse_idle_variants(info.data.get("expect", ()), variants)
        return variants


async def judge(context: Context, options: Options) -> Finding:
    """Look for the patterns in the kernel's ring buffer and console log; complaints that are no quirk fail."""
    completed = await context.run("dmesg", needs=["dmesg"])
    ring = completed.stdout.decode(errors="replace").splitlines()
    # The ring buffer forgets its oldest messages, and the console may be told only the grave ones: both together.
    messages = [_STAMP.sub("", line.strip()) for line in (*context.guest.kernel_log.lines, *ring)]
    expected = adapted(options.expect, options.variant, context.device)
    wrong = [f'no message matches "{pattern}"' for pattern in expected if not _found(pattern, messages, context)]
    wrong += [
        f'a message matches "{pattern}": "{found}"'
        for pattern in options.refuse
        if (found := _found(pattern, messages, context))
    ]
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip()
        wrong.append(f"dmesg ended with status {completed.status}: {said}")
    elif not ring:
        wrong.append("dmesg printed nothing")
    log = context.guest.kernel_log
    wrong += [f"the guest's kernel complained: {splat.title}" for splat in log.splats]
    quirks = [splat.title for splat in log.quirks]
    return judged(
        wrong,
        passed=f"the kernel's log holds all {len(expected)} expected messages and no complaint",
        failed="the kernel's log is not as expected",
        told=[f"a known quirk of the guest's kernel: {quirk}" for quirk in quirks],
        facts={
            "expected": list(expected),
            "messages": len(ring),
            "about": _about(messages, context),
            "splats": ["\n".join(splat.lines) for splat in log.splats],
            "quirks": quirks,
        },
    )


def _found(pattern: str, messages: list[str], context: Context) -> str | None:
    compiled = re.compile(filled_in(pattern, context.device, pattern=True))
    return next((message for message in messages if compiled.search(message)), None)


def _about(messages: list[str], context: Context) -> list[str]:
    """The messages that name the device, each once."""
    if context.device is None:
        return []
    return [message for message in dict.fromkeys(messages) if context.device.address in message]
