# SPDX-License-Identifier: GPL-2.0-or-later
"""The steps of the check ``dma``: each a command of the driver, and what its answer must be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from passthru.check.dma_driver import Answer

DIRECTIONS = ("to-device", "from-device")

BUFFER, OTHER_RAM = "the device's buffer", "other RAM"
"""What a device copies to and from: the second stands for the first where it has none of its own."""

_RESULTS = {
    0: "none (no transfer ended)",
    1: "done",
    2: "unmapped address",
    3: "forbidden address",
    4: "no bus master",
    5: "out of the buffer",
    6: "refused",
}
_DONE, _UNMAPPED, _NO_BUS_MASTER = 1, 2, 4
KIND_NAMES = {"intx": "INTx", "msi": "MSI", "msix": "MSI-X", "line": "its line", "none": "polling"}
"""The driver's words for kinds of interrupts, as the specification has them."""
LINES = ("intx", "line")
"""Kinds that have no vectors."""

# VFIO takes the first access of a handler for the end of INTx, so a handler that reads the cause before it
# acknowledges is called twice. More calls than that, and some for what was pending, are a storm.
_SPURIOUS_CALLS = 4


@dataclass(frozen=True)
class Step:
    """A command, what it does in words, and the judgement: sentences, none if all is well."""

    command: str
    what: str
    judge: Callable[[Answer], Iterator[str]]

    def complaints(self, answer: Answer) -> list[str]:
        """What is wrong, each a sentence of its own."""
        if answer.refusal:
            return [f"{self.what}: the driver refused: {answer.refusal}"]
        return [f"{self.what}: {wrong}" for wrong in self.judge(answer)]


@dataclass(frozen=True)
class Copying:
    """A transfer: ``kind`` is how it interrupts, ``offset`` where RAM begins in a page, ``device`` where the buffer."""

    direction: str
    size: int
    offset: int
    pattern: str
    kind: str
    vector: int = 0
    device: int = 0
    again: str = ""
    """What came before, where that is what the transfer is for."""
    buffer: str = BUFFER
    """What the device has for a buffer, in words."""

    @property
    def step(self) -> Step:
        there = "the device" if self.buffer == BUFFER else self.buffer
        way = f"to {there} from" if self.direction == "to-device" else f"from {there} to"
        place = f"byte {self.offset} of a page" if self.offset else "the start of a page"
        return Step(
            f"copy {self.direction} {self.size} {self.offset} {self.pattern} {self.vector} {self.device}",
            f"{_bytes(self.size)} {way} {place}, pattern {self.pattern}, {_signal(self.kind, self.vector)}{self.again}",
            self._judge,
        )

    def _judge(self, answer: Answer) -> Iterator[str]:
        yield from _ended(answer, _DONE)
        if answer.number("result") == _DONE and answer.number("transferred") != self.size:
            yield f"expected {_bytes(self.size)} transferred, the device counted {answer['transferred']}"
        target, source = (self.buffer, "RAM") if self.direction == "to-device" else ("RAM", self.buffer)
        yield from _changed(answer, "wrong", f"all its bytes in {target} to be the pattern", "not")
        yield from _changed(answer, "outside", f"no byte of {target} before or behind it to change", "did")
        yield from _changed(answer, "source", f"none of its bytes in {source} to change, where they came from", "did")
        yield from _changed(answer, "beside", f"no byte of {source} before or behind it to change", "did")
        yield from _interrupted(answer, self.kind, self.vector)


def liveness(value: int) -> Step:
    """The register that inverts what was written."""

    def judge(answer: Answer) -> Iterator[str]:
        wanted = value ^ 0xFFFFFFFF
        if answer.number("got") != wanted:
            yield f"expected {wanted:#x}, got {answer.number('got'):#x}"

    return Step(f"liveness {value:#x}", f"the liveness register after {value:#x} was written", judge)


def factorial(value: int, kind: str) -> Step:
    """A computation that ends with an interrupt."""
    wanted = math.factorial(value) & 0xFFFFFFFF

    def judge(answer: Answer) -> Iterator[str]:
        if answer.number("got") != wanted:
            yield f"expected {wanted}, got {answer.number('got')}"
        yield from _interrupted(answer, kind, 0)

    return Step(f"factorial {value}", f"the factorial of {value}, {_signal(kind, 0)}", judge)


def interrupts(kind: str, vectors: int) -> Step:
    """Interrupts of that kind, or none, with that many vectors."""

    def judge(answer: Answer) -> Iterator[str]:
        got = answer.number("vectors")
        if failed := answer.number("failed"):
            yield f"expected {max(vectors, 1)} vectors, the guest's kernel gave none (errno {failed})"
        elif answer["kind"] != kind:
            yield f"expected {KIND_NAMES[kind]}, got {KIND_NAMES.get(answer['kind'], answer['kind'])}"
        elif got != vectors:
            yield f"expected {vectors} vectors, got {got}"

    return Step(f"interrupts {kind}", f"enabling {KIND_NAMES[kind]}", judge)


def raising(kind: str, vector: int, times: int) -> Step:
    """``times`` interrupts, one after the other, each of which must arrive once on its vector and on no other."""

    def judge(answer: Answer) -> Iterator[str]:
        counts = [int(count) for count in answer["counts"].split(",")]
        wanted = [times if number == vector else 0 for number in range(len(counts))]
        if counts != wanted:
            early = f"; it gave up after interrupt {answer['raised']} did not arrive" * (counts[vector] < times)
            yield f"expected the counts {_listed(wanted)} on the vectors, got {_listed(counts)}{early}"
        most = _SPURIOUS_CALLS * (times + 2)
        if (spurious := answer.number("spurious")) > most:
            yield f"expected at most {most} calls without a cause, got {spurious}: an interrupt storm"

    what = f"{times} interrupt{'s' * (times != 1)} raised on {_vector(kind, vector)}"
    return Step(f"raise {vector} {times}", what, judge)


def fault(direction: str, size: int, base: int, kind: str, vector: int = 0, buffer: str = BUFFER) -> Step:
    """A transfer at an address where nothing is: told as such, by an interrupt, and nothing else changes."""

    def judge(answer: Answer) -> Iterator[str]:
        yield from _ended(answer, _UNMAPPED)
        if answer.number("result") == _UNMAPPED:
            bus = answer.number("bus")
            if not bus <= answer.number("fault") < bus + size:
                yield f"expected the fault at {bus:#x}, the device tells {answer.number('fault'):#x}"
            if answer.number("transferred"):
                yield f"expected no bytes transferred, the device counted {answer['transferred']}"
        yield from _untouched(answer, buffer)
        yield from _interrupted(answer, kind, vector)

    way = direction.replace("-", " the ") if buffer == BUFFER else direction.replace("device", buffer).replace("-", " ")
    what = f"{_bytes(size)} {way} at an unmapped address {base:#x} above RAM"
    return Step(f"fault {direction} {size} {base:#x} {vector}", f"{what}, {_signal(kind, vector)}", judge)


def refused(direction: str, size: int, kind: str) -> Step:
    """A transfer while bus mastering is off, at an address that is good: refused, and nothing changes."""

    def judge(answer: Answer) -> Iterator[str]:
        yield from _ended(answer, _NO_BUS_MASTER)
        yield from _untouched(answer)
        yield from _interrupted(answer, kind, 0)

    what = f"{_bytes(size)} {direction.replace('-', ' the ')} while bus mastering is off"
    return Step(f"fault {direction} {size} 0", what, judge)


def bus_master(on: bool) -> Step:
    """Bus mastering."""

    def judge(answer: Answer) -> Iterator[str]:
        if bool(answer.number("command") & 4) != on:
            yield f"the command register reads {answer['command']}"

    return Step(f"master {'on' if on else 'off'}", f"switching bus mastering {'on' if on else 'off'}", judge)


def reset() -> Step:
    """The device's own reset: registers and buffer are 0 after it, and it was one reset."""

    def judge(answer: Answer) -> Iterator[str]:
        if failed := answer.number("failed"):
            yield f"the guest's kernel could not do it (errno {failed})"
            return
        if answer.number("resets") != 1:
            yield f"expected 1 reset, the device counted {answer['resets']}"
        for name in ("liveness", "source"):
            if value := answer.number(name):
                yield f"expected 0 in the register {name}, got {value:#x}"
        if left := answer.number("buffer"):
            yield f"expected 0 all over the buffer, {_bytes(left)} not"

    return Step("reset", "the device's reset", judge)


def _ended(answer: Answer, wanted: int) -> Iterator[str]:
    got = answer.number("result")
    if not answer.number("ended"):
        yield "the transfer did not end"
    elif got != wanted:
        where = f" at {answer['fault']}" * (got in (2, 3, 6))
        yield f"expected the result {_result(wanted)}, the device tells {_result(got)}{where}"


def _untouched(answer: Answer, buffer: str = BUFFER) -> Iterator[str]:
    yield from _changed(answer, "ram", "no byte of RAM to change", "did")
    yield from _changed(answer, "buffer", f"no byte of {buffer} to change", "did")


def _changed(answer: Answer, name: str, expected: str, did: str) -> Iterator[str]:
    if number := answer.number(name):
        first = (
            f"{answer[f'{name}-at']} from its start, is {answer[f'{name}-got']} instead of {answer[f'{name}-wanted']}"
        )
        yield f"expected {expected}, {_bytes(number)} {did}: the first, {first}"


def _interrupted(answer: Answer, kind: str, vector: int) -> Iterator[str]:
    if kind == "none":  # the driver polls
        return
    if (count := answer.number("interrupts")) != 1:
        yield f"expected 1 interrupt on {_vector(kind, vector)}, got {count}"
    if others := int(answer.values.get("others", "0")):
        yield f"expected no interrupt on other vectors, got {others}"


def _result(number: int) -> str:
    return f"{number} ({_RESULTS.get(number, 'unknown')})"


def _signal(kind: str, vector: int) -> str:
    return "polled" if kind == "none" else f"told by {_vector(kind, vector)}"


def _vector(kind: str, vector: int) -> str:
    return KIND_NAMES[kind] + (f" vector {vector}" if kind not in LINES else "")


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _listed(counts: list[int]) -> str:
    return ",".join(map(str, counts))
