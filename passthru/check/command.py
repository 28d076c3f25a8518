# SPDX-License-Identifier: GPL-2.0-or-later
"""``command``: a command in the guest ends with a given status and prints what is expected."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from passthru.check.expected import filled_in
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.options import CheckOptions, Pattern
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from typing import Self

    from passthru.check.context import Context

_SHOWN = 400
"""Characters of an output that a sentence shows; all of it is among the facts."""


class Options(CheckOptions):
    """A check with ``use = "command"``; ``{address}`` is the device's address in the guest."""

    use: Literal["command"]
    command: str = Field(min_length=1)
    """What the guest's shell runs."""
    status: int = Field(default=0, ge=0, le=255)
    """The exit status that is expected."""
    matches: Pattern | None = None
    """A pattern that is found in the output."""
    equals: str | None = None
    """The whole output, a last line end aside; "" is the only way to let an empty output pass."""

    @model_validator(mode="after")
    def _one_judgement(self) -> Self:
        if self.matches is not None and self.equals is not None:
            raise ValueError('has both "matches" and "equals"; keep one of them')
        return self


async def judge(context: Context, options: Options) -> Finding:
    """Run the command; status and output both count, and an empty output never passes unless asked for."""
    command = filled_in(options.command, context.device)
    try:
        completed = await context.run(command)
    except DeadlineExceeded as error:
        return Finding(Verdict.FAILED, f'"{command}" did not end within {error.seconds:.1f} s', error.last_lines)
    output = completed.stdout.decode(errors="replace")
    errors = completed.stderr.decode(errors="replace")
    wrong = []
    if completed.status != options.status:
        wrong.append(f"status {completed.status} instead of {options.status}")
    if options.equals is not None:
        if output.removesuffix("\n") != filled_in(options.equals, context.device).removesuffix("\n"):
            wrong.append(f"it printed {_shown(output)} instead of {_shown(options.equals)}")
    elif not output.strip():
        wrong.append("it printed nothing")
    elif options.matches is not None:
        pattern = filled_in(options.matches, context.device, pattern=True)
        if not re.search(pattern, output, re.MULTILINE):
            wrong.append(f'nothing matches "{pattern}" in what it printed: {_shown(output)}')
    return judged(
        wrong,
        passed=f'"{command}" ended with status {completed.status} and printed what is expected',
        failed=f'"{command}"',
        told=[f"its errors: {_shown(errors)}"] if wrong and errors.strip() else [],
        facts={"command": command, "status": completed.status, "stdout": output, "stderr": errors},
    )


def _shown(text: str) -> str:
    text = text.rstrip("\n")
    return f'"{text[:_SHOWN]}"' + (f" (and {len(text) - _SHOWN} characters more)" if len(text) > _SHOWN else "")
