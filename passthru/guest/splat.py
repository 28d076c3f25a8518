# SPDX-License-Identifier: GPL-2.0-or-later
"""Recognising what a kernel complains about: BUG, WARNING, Oops, KASAN, lockdep, hung tasks, stalls, lockups, panic.

The texts are those of kernel/panic.c, lib/bug.c, arch/*/kernel/{traps,dumpstack}.c, arch/*/mm/fault.c,
mm/kasan/report.c, mm/kfence/report.c, lib/ubsan.c, kernel/locking/lockdep.c, kernel/hung_task.c,
kernel/rcu/tree_stall.h, kernel/watchdog*.c and kernel/irq/spurious.c, of Linux 4.19 to 7.2.
Lines come without their time stamps.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_LINES = 200
"""Lines kept of one splat; what has no end mark of its own ends here at the latest."""

FATAL = frozenset({"panic", "oops", "bug", "soft-lockup", "hard-lockup"})
"""Kinds after which a guest cannot be trusted to go on. The others are complaints: the kernel goes on."""


@dataclass(frozen=True)
class Splat:
    """One complaint of a kernel. ``quirk`` is the known pattern that it matched: then it is told, and not counted."""

    kind: str
    title: str
    lines: tuple[str, ...]
    quirk: str | None = None

    @property
    def fatal(self) -> bool:
        """Whether the guest cannot go on after it."""
        return self.kind in FATAL


# The first that matches names the kind. All are matched at the beginning of a message, so that a program's own words
# about "general protection fault" (traps: x[1] general protection fault ip:...) are not taken for the kernel's.
_KINDS: tuple[tuple[str, str], ...] = (
    ("panic", r"Kernel panic - not syncing"),
    ("kasan", r"BUG: KASAN: "),
    ("kfence", r"BUG: KFENCE: "),
    ("kmsan", r"BUG: KMSAN: "),
    ("kcsan", r"BUG: KCSAN: "),
    ("ubsan", r"UBSAN: "),
    ("soft-lockup", r"(?:watchdog: )?BUG: soft lockup"),
    ("hard-lockup", r"(?:NMI )?(?:watchdog: )?(?:CPU\d+: )?Watchdog (?:CPU:\d+ )?detected hard LOCKUP"),
    ("hard-lockup", r"watchdog: (?:CPU\d+: Watchdog|BUG: hard) "),
    ("workqueue-lockup", r"BUG: workqueue lockup"),
    ("oops", r"BUG: (?:unable to handle|kernel NULL pointer)"),
    ("oops", r"Unable to handle kernel "),
    ("oops", r"(?:Oops|Internal error)\b.*(?:\[#\d+\]|: )"),
    ("oops", r"general protection fault(?:,|:)"),
    ("oops", r"(?:PANIC: )?double fault"),
    ("oops", r"[a-z][a-z ]+: [0-9a-f]{4} \[#\d+\]"),
    ("bug", r"kernel BUG at "),
    ("complaint", r"BUG: "),
    (
        "lockdep",
        r"WARNING: (?:possible |suspicious |inconsistent |bad |held lock|lock held|Nested lock|HARDIRQ|SOFTIRQ|"
        r"[A-Za-z{}+/-]+-?(?:safe|unsafe|READ).*lock)",
    ),
    ("lockdep", r"INFO: (?:possible |trying to register non-static key|suspicious RCU)"),
    ("hung-task", r"INFO: task .* blocked (?:for more than|in I/O wait for more than) \d+ seconds"),
    ("hung-task", r"INFO: task .* blocked on "),
    ("rcu-stall", r"(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stall"),
    ("rcu-stall", r"(?:rcu: )?rcu\w* kthread starved"),
    ("warning", r"WARNING: (?:CPU: \d+ PID: \d+|\S+:\d+ at |at )"),
    ("unhandled-irq", r"irq \d+: nobody cared"),
    ("kmemleak", r"kmemleak: \d+ new suspected memory leaks"),
)
_NAMES = tuple(kind for kind, _ in _KINDS)
_START = re.compile("|".join(f"({pattern})" for _, pattern in _KINDS))
_CUT = "------------[ cut here ]------------"
_END = re.compile(r"---\[ end (?:trace|Kernel panic)")
_RULE = re.compile(r"={20,}$")
_RULED = frozenset({"kasan", "kfence", "kmsan", "kcsan", "ubsan"})  # kinds that a line of = ends
_TRACED = frozenset({"warning", "oops", "bug"})  # kinds that an end mark ends, not the end of the first call trace
WORTH_A_LOOK = re.compile(
    rb"BUG|WARNING|INFO: |Oops|[Pp]anic|fault|Unable|\[#|lockup|LOCKUP|UBSAN|cut here|nobody|stall|kmemleak"
)
"""Bytes without any of these hold no beginning of a splat: one search spares a look at each line."""


@dataclass
class SplatCollector:
    """Takes the lines of a kernel log one by one and puts splats together.

    ``begun(kind, title)`` is called at the first line of a splat, ``complete(splat)`` when its end was seen or
    ``finish`` was called, which is for the log's own end and for a log that has fallen silent.
    """

    begun: Callable[[str, str], None]
    complete: Callable[[Splat], None]
    quirks: Sequence[re.Pattern[str]] = ()
    _kind: str | None = None
    _title: str = ""
    _lines: list[str] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether a splat has begun whose end was not seen."""
        return bool(self._lines)

    def feed(self, line: str) -> None:
        """Take one line, without its newline and time stamp."""
        if line.startswith(_CUT):
            self.finish()
            self._lines = [line]
            return
        found = _START.match(line)
        if found is not None:
            self._start(_NAMES[(found.lastindex or 1) - 1], line)
        elif self._lines:
            self._add(line)

    def finish(self) -> None:
        """End the open splat, if there is one."""
        if not self._lines:
            return
        if self._kind is None:  # "cut here" and nothing known after it: still a complaint
            self._name("warning", next((line for line in self._lines if _CUT not in line), self._lines[0]))
        kind, title, lines = self._kind or "warning", self._title, tuple(self._lines)
        self._kind, self._title, self._lines = None, "", []
        text = "\n".join(lines)
        quirk = next((pattern.pattern for pattern in self.quirks if pattern.search(text)), None)
        self.complete(Splat(kind, title, lines, quirk))

    def _start(self, kind: str, line: str) -> None:
        if self._lines and self._continues(kind):
            self._lines.append(line)
            if self._kind is None:
                self._name(kind, line)
            return
        self.finish()
        self._lines = [line]
        self._name(kind, line)

    def _continues(self, kind: str) -> bool:
        # After "cut here" the name follows; an oops is told in several lines that all look like a beginning;
        # a kernel BUG is followed by "invalid opcode: 0000 [#1]", a stall by more of its kind.
        if self._kind is None:
            return True
        if kind == "panic" or self._kind == "panic":
            return False
        return kind == self._kind or (kind == "oops" and self._kind in {"bug", "complaint"})

    def _name(self, kind: str, line: str) -> None:
        self._kind, self._title = kind, line
        self.begun(kind, line)

    def _add(self, line: str) -> None:
        self._lines.append(line)
        ended = (
            _END.match(line) is not None
            or (self._kind in _RULED and _RULE.match(line) is not None)
            or (line.strip() == "</TASK>" and self._kind is not None and self._kind not in _TRACED | _RULED | {"panic"})
            or len(self._lines) >= MOST_LINES
        )
        if ended:
            self.finish()
