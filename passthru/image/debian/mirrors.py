# SPDX-License-Identifier: GPL-2.0-or-later
"""Where this machine gets its Debian packages from: its own sources, since it may sit behind a mirror.

Formats: sources.list(5), both the one-line style (*.list) and deb822 (*.sources).
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.image.debian.suites import is_security, looks_debian

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_ARCHIVE = "http://deb.debian.org/debian"
DEFAULT_SECURITY = "http://deb.debian.org/debian-security"

_REMOTE = re.compile(r"(https?|ftp|mirror(\+\w+)?|tor(\+\w+)?|file):", re.IGNORECASE)


@dataclass(frozen=True)
class Mirror:
    """Base addresses (above dists/): of the archive, and of the security archive."""

    archive: str
    security: str


@dataclass(frozen=True)
class Source:
    """One line of a machine's sources: an address and a suite of it."""

    uri: str
    suite: str


def mirrors(etc: Path = Path("/etc/apt")) -> list[Mirror]:
    """The mirrors to try, best first: $PASSTHRU_DEBIAN_MIRROR alone, or this machine's own and then Debian's."""
    default = Mirror(DEFAULT_ARCHIVE, DEFAULT_SECURITY)
    wanted = os.environ.get("PASSTHRU_DEBIAN_MIRROR", "").strip().rstrip("/")
    if wanted:
        return [Mirror(wanted, os.environ.get("PASSTHRU_DEBIAN_SECURITY", "").strip().rstrip("/") or _beside(wanted))]
    own = [source for source in machine_sources(etc) if looks_debian(source.suite)]
    archive = next((source.uri for source in own if not is_security(source.suite)), None)
    if archive is None:
        return [default]
    security = next((source.uri for source in own if is_security(source.suite)), _beside(archive))
    mine = Mirror(archive, security)
    return [mine] if mine.archive == default.archive else [mine, default]


def _beside(archive: str) -> str:
    return f"{archive}-security" if archive.endswith("/debian") else DEFAULT_SECURITY


def machine_sources(etc: Path) -> list[Source]:
    """All enabled binary sources below an apt configuration directory."""
    found: list[Source] = []
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:  # missing, or not ours to read: as if it were not there
            continue
        if path.suffix == ".list":
            found += one_line_sources(text)
        elif path.suffix == ".sources":
            found += deb822_sources(text)
    return [source for source in found if _REMOTE.match(source.uri)]


def one_line_sources(text: str) -> Iterator[Source]:
    """``deb [ options ] uri suite [component...]`` lines."""
    for line in text.splitlines():
        words = line.partition("#")[0].strip()
        match = re.match(r"deb\s+(\[[^]]*\]\s+)?(\S+)\s+(\S+)", words)
        if match:
            yield Source(match[2].rstrip("/"), match[3])


def deb822_sources(text: str) -> Iterator[Source]:
    """Stanzas of ``Types:``, ``URIs:``, ``Suites:`` fields; folded values and comments are understood."""
    for stanza in re.split(r"\n[ \t]*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t") and name:
                fields[name] += " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0", "off"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield Source(shlex.quote(uri.rstrip("/")).strip("'"), suite)
