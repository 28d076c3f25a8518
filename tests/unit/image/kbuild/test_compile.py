# SPDX-License-Identifier: GPL-2.0-or-later
"""What is said of a build that failed, where builds happen, and what make is given. ``make`` is a script here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.image.kbuild.compile import BuildFailed, build, first_error, keep_log, place_for
from passthru.image.kbuild.private_root import write_script
from passthru.image.kbuild.toolchain import Commands

if TYPE_CHECKING:
    from passthru.image.store import Store


IN_A_HEADER = """\
In file included from /w/a.c:1:
/w/a.h:3:9: warning: unused variable 'error'
/w/a.c:12:5: error: expected ';' before '}' token
/w/a.c:99:5: error: later
make[1]: *** [a.o] Error 1
"""
NO_HEADER = "a.c:2:10: fatal error: no/such.h: No such file or directory\n"
UNDEFINED = 'ERROR: modpost: "x" [/w/a.ko] undefined!'
NO_LIBRARY = "cc1: error while loading shared libraries: libisl.so.23"
NO_RULE = "make[2]: *** No rule to make target 'a.o'.  Stop.\n"
NOTHING = "make ended with status 2"


@pytest.mark.parametrize(
    ("log", "file", "line", "text"),
    [
        (IN_A_HEADER, "/w/a.c", 12, "expected ';' before '}' token"),
        (NO_HEADER, "a.c", 2, "no/such.h: No such file or directory"),
        (f"{UNDEFINED}\nmake: *** x\n", "", 0, UNDEFINED),
        (f"{NO_LIBRARY}\nmake: *** [x] Error 1\n", "", 0, NO_LIBRARY),
        (NO_RULE, "", 0, "make: No rule to make target 'a.o'.  Stop."),
        ("all went\nwell\n", "", 0, f"{NOTHING}, and its last words are: well"),
        ("", "", 0, NOTHING),
    ],
)
def test_the_first_error_of_a_log(log: str, file: str, line: int, text: str) -> None:
    """The compiler's before all others, since those only follow from it."""
    found = first_error(log, NOTHING)
    assert (found.file, found.line, found.text) == (file, line, text)


def test_builds_happen_where_make_can_live(tmp_path: Path) -> None:
    """The kernel's makefiles refuse blanks and colons in a path."""
    good = place_for(tmp_path)
    assert good.parent == tmp_path
    blank = tmp_path / "with a blank"
    blank.mkdir()
    elsewhere = place_for(blank)
    try:
        assert " " not in str(elsewhere)
        assert elsewhere.is_dir()
    finally:
        elsewhere.rmdir()


def run_make(tmp_path: Path, script: str, **variables: str) -> str:
    """What a made ``make`` left in the log."""
    make = write_script(tmp_path / "make", f"#!/bin/sh\n{script}\n")
    module = tmp_path / "module"
    module.mkdir()
    hidden = {tmp_path: "outer", module: "."}
    log = tmp_path / "log"
    build(tmp_path / "tree", module, Commands(make, {"CC": "/x/gcc"}), variables, "amd64", log, hidden)
    return log.read_text()


def test_what_make_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's environment that speaks for another build: passthru is itself run by make."""
    for name, value in {"MAKEFLAGS": "n", "KCFLAGS": "-Dx", "ARCH": "sparc", "CROSS_COMPILE": "y-"}.items():
        monkeypatch.setenv(name, value)
    log = run_make(tmp_path, 'env; printf "<%s>\\n" "$@"', CONFIG_A="m")
    module = tmp_path / "module"
    assert not [line for line in log.splitlines() if line.startswith(("MAKE", "KCFLAGS", "ARCH", "CROSS"))]
    assert f"<-C>\n<{tmp_path / 'tree'}>\n<M={module}>" in log
    assert {"<ARCH=x86>", "<CC=/x/gcc>", "<CONFIG_A=m>", "<modules>"} <= set(log.splitlines())


def test_paths_are_mapped_the_inner_one_last(tmp_path: Path) -> None:
    """gcc takes the last that matches."""
    log = run_make(tmp_path, 'printf "<%s>\\n" "$@"')
    module = tmp_path / "module"
    assert f"<KCFLAGS=-ffile-prefix-map={tmp_path}=outer -ffile-prefix-map={module}=.>" in log


def test_both_outputs_are_in_the_log_of_a_failure(tmp_path: Path) -> None:
    """In their order, and the status is in the error when nothing else is."""
    with pytest.raises(BuildFailed, match="make ended with status 7"):
        run_make(tmp_path, "echo one; echo two >&2; exit 7")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_a_make_that_cannot_be_started(tmp_path: Path) -> None:
    """It is a failure like any other."""
    (tmp_path / "module").mkdir()
    with pytest.raises(BuildFailed, match="No such file"):
        build(tmp_path, tmp_path / "module", Commands(tmp_path / "gone", {}), {}, "amd64", tmp_path / "log", {})


def test_the_log_is_kept_with_paths_that_a_person_knows(tmp_path: Path, store: Store) -> None:
    """The copy that was built is gone by then."""
    log = tmp_path / "log"
    log.write_text(f"{tmp_path}/build-1/module/a.c:1:1: error: x\n")
    kept = keep_log(log, "my module/6.1", store, {tmp_path / "build-1/module": Path("/home/me/mine")})
    assert kept.read_text() == "/home/me/mine/a.c:1:1: error: x\n"
    assert kept.is_relative_to(store.root)
    assert " " not in kept.name


def test_no_place_for_a_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to set."""
    blank = tmp_path / "with a blank"
    blank.mkdir()
    monkeypatch.setattr("passthru.image.kbuild.compile._PLACES", (blank,))
    monkeypatch.setattr("tempfile.tempdir", str(blank))
    with pytest.raises(Unusable, match="TMPDIR"):
        place_for(blank)
