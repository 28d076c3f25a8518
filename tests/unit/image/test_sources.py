# SPDX-License-Identifier: GPL-2.0-or-later
"""Which mirror is asked, and for which suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.errors import UserMistake
from passthru.image.debian.mirrors import DEFAULT_ARCHIVE, DEFAULT_SECURITY, Mirror, machine_sources, mirrors
from passthru.image.debian.suites import suite

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = Mirror(DEFAULT_ARCHIVE, DEFAULT_SECURITY)


@pytest.fixture(autouse=True)
def _no_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PASSTHRU_DEBIAN_MIRROR", "PASSTHRU_DEBIAN_SECURITY"):
        monkeypatch.delenv(name, raising=False)


def etc(tmp_path: Path, **files: str) -> Path:
    """An apt configuration; ``list__x`` is sources.list.d/x.list."""
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        ending, _, stem = name.partition("__")
        (tmp_path / (f"sources.list.d/{stem}.{ending}" if stem else "sources.list")).write_text(text)
    return tmp_path


def test_a_machine_without_sources(tmp_path: Path) -> None:
    """Debian's own."""
    assert mirrors(tmp_path) == [DEBIAN]


def test_the_one_line_style(tmp_path: Path) -> None:
    """Options, comments and other vendors' lines included."""
    here = etc(
        tmp_path,
        list="""
# deb http://commented.example/debian bookworm main
deb-src http://sources.example/debian bookworm main
deb [arch=amd64] https://packages.example/apt cloud-sdk-bookworm main
deb [ arch=amd64 signed-by=/usr/share/keyrings/a.gpg ] http://mirror.example/debian/ bookworm main # ours
deb http://mirror.example/secure bookworm-security main
""",
    )
    assert mirrors(here) == [Mirror("http://mirror.example/debian", "http://mirror.example/secure"), DEBIAN]


def test_the_deb822_style(tmp_path: Path) -> None:
    """Folded values, comments within a stanza and disabled stanzas included."""
    here = etc(
        tmp_path,
        sources__a="""\
Enabled: no
Types: deb
URIs: http://disabled.example/debian
Suites: bookworm

Types: deb deb-src
# http://snapshot.example
URIs:
  http://one.example/debian
  http://two.example/debian
Suites: bookworm
 bookworm-updates
Components: main

Types: deb
URIs: http://one.example/debian-security
Suites: bookworm-security
""",
    )
    assert mirrors(here)[0] == Mirror("http://one.example/debian", "http://one.example/debian-security")


def test_security_of_a_mirror_that_names_none(tmp_path: Path) -> None:
    """It stands beside the archive on most mirrors."""
    here = etc(tmp_path, list="deb http://mirror.example/debian sid main\n")
    assert mirrors(here)[0] == Mirror("http://mirror.example/debian", "http://mirror.example/debian-security")
    (here / "sources.list").write_text("deb http://mirror.example/d sid main\n")
    assert mirrors(here)[0].security == DEFAULT_SECURITY


def test_another_distribution_s_sources_say_nothing(tmp_path: Path) -> None:
    """Ubuntu's mirrors do not serve Debian's suites; a cdrom serves nothing."""
    text = "deb http://archive.ubuntu.example/ubuntu noble main\ndeb cdrom:[Debian]/ bookworm main\n"
    assert mirrors(etc(tmp_path, list=text)) == [DEBIAN]


def test_files_of_other_names_are_not_read(tmp_path: Path) -> None:
    """As apt does it."""
    here = etc(tmp_path, disabled__x="deb http://mirror.example/debian sid main\n")
    assert machine_sources(here) == []


def test_a_wish_overrides_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else is tried then."""
    monkeypatch.setenv("PASSTHRU_DEBIAN_MIRROR", "http://wish.example/debian/")
    here = etc(tmp_path, list="deb http://mirror.example/debian sid main\n")
    assert mirrors(here) == [Mirror("http://wish.example/debian", "http://wish.example/debian-security")]


@pytest.mark.parametrize(
    ("name", "archive", "security", "preferred"),
    [
        ("bookworm", ("bookworm", "bookworm-updates"), ("bookworm-security",), None),
        (
            "bookworm-backports",
            ("bookworm-backports", "bookworm", "bookworm-updates"),
            ("bookworm-security",),
            "bookworm-backports",
        ),
        ("forky", ("forky",), (), None),
        ("unstable", ("sid",), (), None),
        ("testing", ("testing",), (), None),
        (" Sid ", ("sid",), (), None),
    ],
)
def test_what_a_suite_needs_beside_it(
    name: str, archive: tuple[str, ...], security: tuple[str, ...], preferred: str | None
) -> None:
    """Backports need their base, stable ones their security."""
    found = suite(name)
    assert (found.archive, found.security, found.preferred) == (archive, security, preferred)


@pytest.mark.parametrize(
    "name", ["", "book worm", "bookworm/../sid", "bookworm-security", "-", "bookworm\n\nTypes: deb"]
)
def test_no_suite_has_such_a_name(name: str) -> None:
    """And none of it reaches apt."""
    with pytest.raises(UserMistake, match="no name of a Debian suite"):
        suite(name)
