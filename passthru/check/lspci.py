# SPDX-License-Identifier: GPL-2.0-or-later
"""``lspci``: the device as lspci lists it (fields, capabilities, configuration space) against an expected listing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints, ValidationInfo, field_validator

from passthru.check.expected import adapted, refuse_idle_variants
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.lspci_compare import compare
from passthru.check.lspci_listing import parse
from passthru.check.options import DeviceCheckOptions, Variant

if TYPE_CHECKING:
    from passthru.check.context import Context

OffsetRange = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{2,3}(-[0-9a-f]{2,3})?$")]


class Options(DeviceCheckOptions):
    """A check with ``use = "lspci"``."""

    use: Literal["lspci"]
    expect: str
    """What ``lspci -s ADDRESS -xxvv`` prints, as the kernel's documents show it; indentation does not count."""
    varies: tuple[OffsetRange, ...] = ()
    """Offsets of the configuration space, in hex, that may hold anything: "04" or "40-43"."""
    variant: tuple[Variant, ...] = ()
    """How the listing changes with the device's options."""

    @field_validator("expect")
    @classmethod
    def _readable(cls, text: str) -> str:
        try:
            parse(text)
        except ValueError as error:
            raise ValueError(f"is no listing of lspci: {error}") from error
        return text

    @field_validator("variant")
    @classmethod
    def _finding_lines(cls, variants: tuple[Variant, ...], info: ValidationInfo) -> tuple[Variant, ...]:
        refuse_idle_variants(str(info.data.get("expect", "")).splitlines(), variants)
        return variants


async def judge(context: Context, options: Options) -> Finding:
    """Run lspci in the guest and compare; an empty or unreadable listing fails."""
    device = context.the_device
    slot = re.sub(r"^0000:", "", device.address)
    completed = await context.run(f"lspci -s {device.address} -xxvv", needs=["lspci"])
    text = completed.stdout.decode(errors="replace")
    if completed.status != 0 or not text.strip():
        said = completed.stderr.decode(errors="replace").strip() or "nothing"
        return Finding(
            Verdict.FAILED,
            f"lspci lists no device at {slot} in the guest: it ended with status {completed.status} and said {said}",
        )
    expected = parse("\n".join(adapted(options.expect.splitlines(), options.variant, device)))
    try:
        got = parse(text)
    except ValueError as error:
        return Finding(Verdict.FAILED, f"the output of lspci cannot be read: {error}", tuple(text.splitlines()))
    result = compare(expected, got, slot=slot, free=_offsets(options.varies))
    return judged(
        result.wrong,
        passed=f"lspci shows the expected device: {result.compared} values equal, {len(result.varies)} vary by nature",
        failed="lspci shows another device than expected",
        facts={"compared": result.compared, "varies": result.varies, "listing": text.splitlines()},
    )


def _offsets(ranges: tuple[str, ...]) -> set[int]:
    offsets: set[int] = set()
    for text in ranges:
        first, _, last = text.partition("-")
        offsets.update(range(int(first, 16), int(last or first, 16) + 1))
    return offsets
