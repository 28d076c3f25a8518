# SPDX-License-Identifier: GPL-2.0-or-later
"""``dma``: a device moves data to and from the guest's memory, tells its faults, and interrupts exactly as often.

The guest's driver does it (the module passthru_dma, for passthru's dma-engine and copy-engine and QEMU's edu) and says
what it saw.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from passthru.check.dma_driver import KINDS, MODULE, About, NoDriver, about, ask
from passthru.check.dma_steps import (
    BUFFER,
    DIRECTIONS,
    KIND_NAMES,
    OTHER_RAM,
    Copying,
    Step,
    bus_master,
    factorial,
    fault,
    interrupts,
    liveness,
    raising,
    refused,
    reset,
)
from passthru.check.finding import Finding, Verdict, judged
from passthru.check.options import DeviceCheckOptions
from passthru.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from passthru.check.context import Context

Kind = Literal["intx", "line", "msi", "msix"]
Pattern = Literal["zeros", "ones", "checker", "walking", "offset", "random"]

EDU, COPY_ENGINE = "edu", "copy-engine"
"""Kinds of devices that are not like passthru's dma-engine."""

_LARGEST = 4 << 20  # bytes of RAM in one piece
_MOST_COPIES = 1024
_BEFORE_PAGE_END = 3  # bytes


class Options(DeviceCheckOptions):
    """A check with ``use = "dma"``."""

    use: Literal["dma"]
    modules: tuple[str, ...] = (MODULE,)
    sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=_LARGEST)], ...], Field(min_length=1)] | None = None
    """Bytes of a transfer; by default 1, 64, a page, three pages, and the device's buffer (64 KiB of it at most)."""
    offsets: Annotated[tuple[Annotated[int, Field(ge=0, le=65535)], ...], Field(min_length=1)] | None = None
    """Where in a page the guest's memory begins; by default 0, 1 and three bytes before the page's end."""
    patterns: Annotated[tuple[Pattern, ...], Field(min_length=1)] = ("offset", "random", "ones")
    """What is transferred; every size with every offset and every pattern, in both directions."""
    interrupts: Annotated[tuple[Kind, ...], Field(min_length=1)] | None = None
    """Kinds of interrupts to judge, the first for the transfers too; by default all that the device has."""
    raises: int = Field(default=8, ge=1, le=1000)
    """Interrupts on each vector of each kind."""
    unmapped: tuple[Annotated[int, Field(ge=1 << 32, le=(1 << 63) - 1)], ...] = (1 << 44,)
    """Distances above the guest's memory at which nothing is mapped; () leaves faults out."""
    bus_master: bool = True
    """Whether a transfer is tried while bus mastering is off."""
    reset: bool = True
    """Whether the device is reset by itself."""

    @model_validator(mode="after")
    def _not_too_much(self) -> Self:
        copies = 2 * len(self.sizes or "12345") * len(self.offsets or "123") * len(self.patterns)
        if copies > _MOST_COPIES:
            raise ValueError(f"asks for {copies} transfers; sizes x offsets x patterns x 2 can be {_MOST_COPIES}")
        return self


async def judge(context: Context, options: Options) -> Finding:
    """Ask the driver what the device is, have it run all steps, and judge each answer."""
    device = context.the_device
    try:
        known = await about(context)
        if unfit := _unfit(options, known):
            return Finding(Verdict.ERROR, f"could not judge {device.id}: {unfit}")
        told = list(_left_out(options, known))
        steps = list(_steps(options, known))
        answers = await ask(context, (step.command for step in steps))
    except NoDriver as error:
        return Finding(Verdict.FAILED, str(error))
    except DeadlineExceeded as error:
        return Finding(
            Verdict.FAILED,
            f"{device.id} hangs: its driver did not answer within {error.seconds:.1f} s",
            error.last_lines,
        )
    wrong = [sentence for step, answer in zip(steps, answers, strict=True) for sentence in step.complaints(answer)]
    copies = sum(answer.word == "copy" for answer in answers)
    vectors = {
        answer["kind"]: answer.number("vectors")
        for answer in answers
        if answer.word == "interrupts" and answer.number("vectors")
    }
    told_vectors = ", ".join(f"{KIND_NAMES[kind]} {count}" for kind, count in vectors.items())
    return judged(
        wrong,
        passed=f"{copies} transfers moved every byte and nothing else"
        + (f", and every interrupt came once on its vector (vectors: {told_vectors})" if told_vectors else ""),
        failed=f"{device.id} does not do what its driver asked for",
        told=told,
        facts={
            "kind": known.kind,
            "buffer": known.buffer,
            "transfers": copies,
            "vectors": vectors,
            "offered": {kind: count for kind, count in known.vectors.items() if count},
            "spurious": sum(answer.number("spurious") for answer in answers if answer.word == "raise"),
            "left_out": told,
            "answers": [answer.line for answer in answers],
        },
    )


def _sizes(options: Options, known: About) -> list[int]:
    whole = min(known.buffer, 64 << 10)
    wanted = options.sizes or (1, 64, known.page, 3 * known.page, whole)
    return list(dict.fromkeys(size for size in wanted if options.sizes or size <= known.buffer))


def _offsets(options: Options, known: About) -> tuple[int, ...]:
    return options.offsets or (0, 1, known.page - _BEFORE_PAGE_END)


def _kinds(options: Options, known: About) -> list[str]:
    """The best first, by default."""
    return list(options.interrupts or (kind for kind in reversed(KINDS) if known.vectors[kind])) or ["none"]


def _unfit(options: Options, known: About) -> str:
    """Why the options cannot be tried on this device, as the end of a sentence."""
    if (size := max(_sizes(options, known))) > known.buffer:
        return f"sizes has {size}, and the device's buffer is {known.buffer} bytes; leave it out of sizes"
    if (offset := max(_offsets(options, known))) >= known.page:
        return f"offsets has {offset}, and the guest's pages are {known.page} bytes; leave it out of offsets"
    for kind in options.interrupts or ():
        if not known.vectors[kind]:
            return f"interrupts has {kind}, which the device does not offer; leave it out of interrupts"
    return ""


def _left_out(options: Options, known: About) -> Iterator[str]:
    """What this kind of device cannot show, in sentences."""
    wanted = (("faults", options.unmapped), ("bus mastering", options.bus_master), ("its reset", options.reset))
    for what, asked in wanted:
        if asked and known.kind == EDU:
            yield f"not judged, as edu tells nothing of it: {what}"


def _steps(options: Options, known: About) -> Iterator[Step]:
    kinds, copying = _kinds(options, known), _copying(known)
    # A VMM traps a buffer that is mapped while it forwards INTx, and much data takes long then.
    bulk = kinds[0] if kinds[0] != "intx" else "none"
    vectors = max(known.usable.get(bulk, 0), 1)
    crossing = next((size for size in sorted(_sizes(options, known)) if size > _BEFORE_PAGE_END), known.page)
    if known.kind != COPY_ENGINE:
        yield from (liveness(value) for value in (0, 0x12345678, 0xFFFFFFFF))
    yield _enabled(bulk, known)
    yield from _copies(options, known, bulk, vectors)
    if known.kind != EDU:
        yield from _faults(options, known, crossing, bulk, vectors - 1)
    for kind in kinds:
        yield _enabled(kind, known)
        if known.kind != COPY_ENGINE:
            yield from (factorial(value, kind) for value in (0, 5, 12, 40))
        last = max(known.usable.get(kind, 0), 1) - 1
        if kind != "none":
            yield from (raising(kind, vector, options.raises) for vector in range(last + 1))
        offset = known.page - _BEFORE_PAGE_END
        yield from (copying(way, crossing, offset, "random", kind, last).step for way in DIRECTIONS)
    if known.kind not in (EDU, COPY_ENGINE) and options.bus_master:
        kind = "intx" if "intx" in kinds else "none"  # messages are writes to the bus themselves
        yield _enabled(kind, known)
        yield bus_master(False)
        yield from (refused(way, crossing, kind) for way in DIRECTIONS)
        yield bus_master(True)
    yield _enabled(kinds[0], known)
    yield from (copying(way, crossing, 0, "offset", kinds[0], again=", at the end").step for way in DIRECTIONS)


def _copying(known: About) -> Callable[..., Copying]:
    return partial(Copying, buffer=OTHER_RAM) if known.kind == COPY_ENGINE else Copying


def _enabled(kind: str, known: About) -> Step:
    return interrupts(kind, known.usable.get(kind, 0))


def _copies(options: Options, known: About, kind: str, vectors: int) -> Iterator[Step]:
    """All transfers; every vector has its turn, and so have start and end of the buffer."""
    sizes, offsets = _sizes(options, known), _offsets(options, known)
    for number, (size, offset, pattern, way) in enumerate(product(sizes, offsets, options.patterns, DIRECTIONS)):
        place = known.buffer - size if number % 3 else 0
        yield _copying(known)(way, size, offset, pattern, kind, number % vectors, place).step


def _faults(options: Options, known: About, size: int, kind: str, vector: int) -> Iterator[Step]:
    """Addresses where nothing is, and the device's reset; transfers go on as if nothing had been."""
    copying = _copying(known)
    for base, way in product(options.unmapped, DIRECTIONS):
        yield fault(way, size, base, kind, vector, OTHER_RAM if known.kind == COPY_ENGINE else BUFFER)
        yield copying(way, size, 0, "random", kind, again=", after a fault").step
    if options.reset:
        yield reset()
        yield from (copying(way, size, 0, "random", kind, again=", after the reset").step for way in DIRECTIONS)
