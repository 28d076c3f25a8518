# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's suites: what a name needs beside it (security, updates, the base of backports)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from passthru.errors import UserMistake

_STABLE = ("bullseye", "bookworm", "trixie", "stable", "oldstable", "oldoldstable")
_MOVING = ("forky", "duke", "sid", "testing", "unstable", "experimental")
_PARTS = ("", "-updates", "-security", "-backports", "-proposed-updates", "/updates")
_SAME = {"unstable": "sid"}
_NAME = re.compile(r"([a-z]+)(-backports)?")


@dataclass(frozen=True)
class Suite:
    """``archive`` and ``security`` are what apt reads of each archive, the one that must be there first."""

    name: str
    archive: tuple[str, ...]
    security: tuple[str, ...]
    preferred: str | None
    """The suite whose versions win though it would not by itself (backports)."""

    @property
    def required(self) -> tuple[str, ...]:
        """Without these nothing can be fetched; the others may be missing from a mirror."""
        return tuple(name for name in self.archive if not name.endswith("-updates"))


def suite(name: str) -> Suite:
    """What a suite of that name consists of; a name that Debian's can not be is the user's mistake."""
    match = _NAME.fullmatch(name.strip().lower())
    if not match:
        raise UserMistake(
            f"{name!r} is no name of a Debian suite; write one like bookworm, trixie-backports, testing or sid"
        )
    base = _SAME.get(match[1], match[1])
    stable = base in _STABLE
    archive = [base]
    if match[2]:
        archive.insert(0, f"{base}-backports")
    if stable:
        archive.append(f"{base}-updates")
    return Suite(
        name=base + (match[2] or ""),
        archive=tuple(archive),
        security=(f"{base}-security",) if stable else (),
        preferred=f"{base}-backports" if match[2] else None,
    )


def looks_debian(name: str) -> bool:
    """Whether a suite in a machine's sources is one of Debian's own (and not Ubuntu's, or a vendor's)."""
    return any(name == base + part for base in (*_STABLE, *_MOVING, "buster") for part in _PARTS)


def is_security(name: str) -> bool:
    """Whether a suite is of the security archive."""
    return name.endswith(("-security", "/updates"))
