# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading what test programs print: TAP 12 to 14 (https://testanything.org), and KTAP, the kernel's own.

KTAP (Documentation/dev-tools/ktap.rst) indents subtests by two spaces below a version line of theirs, TAP 14 by four.
The runner of the kernel's selftests puts ``# `` before each line of the programs that it runs: such a block that begins
with a version line is read as subtests too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_VERSION = re.compile(r"K?TAP version \d+")
_PLAN = re.compile(r"1\.\.(?P<count>\d+)(?:\s*#\s*(?P<reason>.*))?")
_RESULT = re.compile(r"(?P<not>not )?ok\b(?:\s+(?P<number>\d+))?(?:\s+-?\s*(?P<rest>.*))?")
_DIRECTIVE = re.compile(
    r"(?:^|\s)#\s*(?P<word>skip|todo|xfail|xpass|timeout|error)\w*:?(?:\s+(?P<reason>.*))?$", re.IGNORECASE
)
_EXIT = re.compile(r"\s*# exit=\d+$")  # of the kernel's runner
_BAIL_OUT = re.compile(r"Bail out!\s*(?P<reason>.*)")
_SUBTEST = re.compile(r"#\s*Subtest: (?P<name>.*)")
# Of the kernel's log, where the tests of a module tell their results.
_STAMP = re.compile(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[[^]]*\])? ")
_COMMENTS = 8


@dataclass
class Result:
    """One test: ``directive`` is its word in capitals, ``comments`` the last diagnostics before it."""

    number: int | None
    name: str
    ok: bool
    directive: str = ""
    reason: str = ""
    comments: tuple[str, ...] = ()
    subtests: Block | None = None

    @property
    def skipped(self) -> bool:
        """Whether it was not run."""
        return self.directive == "SKIP"

    @property
    def excused(self) -> bool:
        """Whether it may be not ok."""
        return self.directive in ("SKIP", "TODO", "XFAIL")

    @property
    def title(self) -> str:
        """What sentences call it."""
        return self.name or (f"test {self.number}" if self.number is not None else "a test without a name")


@dataclass
class Block:
    """The tests of one level; ``plan`` is their number, None where none was told; ``bailed`` why they were given up."""

    plan: int | None = None
    reason: str = ""
    versioned: bool = False
    results: list[Result] = field(default_factory=list)
    bailed: str | None = None
    plans: int = 0
    orphans: list[tuple[str, Block]] = field(default_factory=list)
    """Subtests whose own test has no result, and what they were called."""

    def leaves(self, path: tuple[str, ...] = (), *, excused: bool = False) -> Iterator[tuple[str, Result, bool]]:
        """The tests that have no subtests, by their paths, and whether they, or those that they belong to, are excused.

        One that is not ok although all its subtests are counts as one of its own, as does one that is skipped.
        """
        for result in self.results:
            here = (*path, result.title)
            inner = list(result.subtests.leaves(here, excused=excused or result.excused)) if result.subtests else []
            yield from inner
            told = any(not leaf.ok for _, leaf, _ in inner)
            if not inner or not (result.ok or told):
                yield " / ".join(here), result, excused or result.excused
        for name, block in self.orphans:
            yield from block.leaves((*path, name), excused=excused)

    def complaints(self, where: str = "") -> list[str]:
        """What is wrong with the telling itself: tests that were planned and are not there, and their like."""
        wrong = []
        prefix = f"{where}: " if where else ""
        if self.bailed is not None:
            wrong.append(f"{prefix}it bailed out: {self.bailed or 'without a reason'}")
        if self.plans > 1:
            wrong.append(f"{prefix}it told {self.plans} plans")
        wrong += [prefix + text for text in self._numbering()]
        for result in self.results:
            if result.subtests:
                wrong += result.subtests.complaints(f"{prefix}{result.title}")
        for name, block in self.orphans:
            wrong += [f"{prefix}{name} came to no result", *block.complaints(f"{prefix}{name}")]
        return wrong

    def _numbering(self) -> list[str]:
        given = [number or place for place, number in enumerate((result.number for result in self.results), 1)]
        repeated = sorted({number for number in given if given.count(number) > 1})
        wrong = [f"it told the results of {_tests(repeated)} more than once"] if repeated else []
        if self.plan is None:
            return wrong
        missing = sorted(set(range(1, self.plan + 1)) - set(given))
        beyond = sorted(set(given) - set(range(1, self.plan + 1)))
        if missing and self.plan:
            wrong.append(f"of {self.plan} planned tests {len(missing)} have no result: {_tests(missing)}")
        if beyond:
            wrong.append(f"it planned {self.plan} tests, and told the results of {_tests(beyond)} as well")
        return wrong


def _tests(numbers: list[int], most: int = 8) -> str:
    shown = ", ".join(map(str, numbers[:most])) + (" ..." if len(numbers) > most else "")
    return f"test {shown}" if len(numbers) == 1 else f"tests {shown}"


def parse(text: str) -> Block:
    """The tests that ``text`` tells of; lines that tell nothing of a test are left out."""
    return _Reader().read(_STAMP.sub("", line.rstrip()) for line in text.splitlines())


def begins(text: str) -> bool:
    """Whether ``text`` is TAP or KTAP by its own word: it has a version line, or begins with a plan or a result."""
    lines = [_STAMP.sub("", line.rstrip()) for line in text.splitlines() if line.strip()]
    if any(_VERSION.fullmatch(line) for line in lines):
        return True
    return bool(lines) and any(form.fullmatch(lines[0]) for form in (_PLAN, _RESULT))


@dataclass
class _Level:
    """An open block; ``indent`` is what stands before its lines: spaces, or the ``# `` of a runner among them."""

    indent: str
    name: str = ""
    block: Block = field(default_factory=Block)


class _Reader:
    """Reads line by line; ``levels`` are the blocks that are open, the outermost first."""

    def __init__(self) -> None:
        self._levels = [_Level("")]
        self._comments: list[str] = []
        self._yaml: str | None = None
        self._subtest = ""

    def read(self, lines: Iterable[str]) -> Block:
        """The outermost block."""
        for line in lines:
            indent, text = self._split(line)
            if self._yaml is not None:
                self._yaml = None if (indent, text) == (self._yaml, "...") else self._yaml
            elif text == "---" and indent:
                self._yaml = indent
            else:
                self._take(indent, text)
        self._close("")
        return self._levels[0].block

    def _split(self, line: str) -> tuple[str, str]:
        """The indentation of a line, and what it says."""
        text = line.lstrip(" ")
        indent = line[: len(line) - len(text)]
        inner = text[2:].lstrip(" ")
        runner = f"{indent}# "
        if text.startswith("# ") and (
            _VERSION.fullmatch(inner) or any(level.indent.startswith(runner) for level in self._levels)
        ):
            return line[: len(line) - len(inner)], inner
        return indent, text

    def _take(self, indent: str, text: str) -> None:
        if bail := _BAIL_OUT.fullmatch(text):
            self._levels[0].block.bailed = bail["reason"].strip()
        elif _VERSION.fullmatch(text):
            self._at(indent).block.versioned = True
        elif subtest := _SUBTEST.fullmatch(text):
            # TAP has this before the block, KTAP in it, after the version.
            if indent and self._levels[-1].indent == indent:
                self._levels[-1].name = subtest["name"]
            else:
                self._subtest = subtest["name"]
        elif text.startswith("#"):
            self._comments = [*self._comments[1 - _COMMENTS :], text.lstrip("# ").rstrip()]
        elif plan := _PLAN.fullmatch(text):
            block = self._at(indent).block
            block.plan = int(plan["count"])
            block.plans += 1
            block.reason = re.sub(r"^skip\w*:?\s*", "", plan["reason"] or "", flags=re.IGNORECASE)
        elif result := _RESULT.fullmatch(text):
            self._result(indent, result)

    def _result(self, indent: str, found: re.Match[str]) -> None:
        # A block right below this level is that of this test; any deeper one has lost the test that it belongs to.
        subtests = None
        inner = [level for level in self._levels if len(level.indent) > len(indent)]
        if inner:
            self._close(inner[0].indent)
            subtests = self._levels.pop().block
        rest = found["rest"] or ""
        directive = _DIRECTIVE.search(rest)
        name = rest[: directive.start()] if directive else rest
        self._at(indent).block.results.append(
            Result(
                int(found["number"]) if found["number"] else None,
                _EXIT.sub("", name).replace("\\#", "#").strip(),
                not found["not"],
                directive["word"].upper() if directive else "",
                (directive["reason"] or "").strip() if directive else "",
                tuple(comment for comment in self._comments if comment),
                subtests,
            )
        )
        self._comments, self._subtest = [], ""

    def _at(self, indent: str) -> _Level:
        """The level of a line, which begins here where there is none; deeper ones have ended."""
        self._close(indent)
        if self._levels[-1].indent != indent:
            self._levels.append(_Level(indent, self._subtest))
            self._subtest = ""
        return self._levels[-1]

    def _close(self, indent: str) -> None:
        """End all blocks that are deeper: subtests of a test that has no result itself."""
        while len(self._levels[-1].indent) > len(indent):
            level = self._levels.pop()
            self._levels[-1].block.orphans.append((level.name or "subtests", level.block))
