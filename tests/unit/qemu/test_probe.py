# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking programs what they can do; most are no QEMU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.qemu import probe
from passthru.qemu.binary import Candidate, Qemu
from passthru.qemu.identity import of_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.image.store import Store
    from tests.unit.qemu.conftest import StandIn


def candidate(path: Path) -> Candidate:
    return Candidate(str(path), (str(path),), of_file(path))


def refused(path: Path, store: Store, seconds: float = 20.0) -> str:
    """The sentence about a program that is no QEMU."""
    with pytest.raises(Unusable) as caught:
        probe.ask(candidate(path), store, seconds=seconds)
    message = str(caught.value)
    assert "--qemu" in message
    assert "\n" not in message
    return message


def test_a_program_of_another_kind(store: Store) -> None:
    assert "/bin/true is no usable QEMU: " in refused(Path("/bin/true"), store)
    assert "it exited with status 0" in refused(Path("/bin/true"), store)


def test_a_script_that_prints_garbage(script: Callable[[str, str], Path], store: Store) -> None:
    path = script("garbage", "#!/bin/sh\nprintf 'junk\\377\\001\\n\\n'; exit 3\n")
    assert "it exited with status 3 and said: junk;" in refused(path, store)


def test_a_program_that_speaks_something_else_on_its_line(script: Callable[[str, str], Path], store: Store) -> None:
    text = "#!/bin/bash\nfd=$(echo \"$*\" | sed 's/.*,fd=//;s/ .*//')\necho 'HTTP/1.1 400' >&$fd\nsleep 600\n"
    assert "it spoke no QMP" in refused(script("chatty", text), store)


def test_a_program_that_hangs_is_given_up_and_ended(
    script: Callable[[str, str], Path], store: Store, tmp_path: Path
) -> None:
    path = script("hangs", f"#!/bin/sh\nsleep 600 &\necho $$ $! >{tmp_path}/pids\nwait\n")
    assert "did not answer over QMP within 0." in refused(path, store, seconds=0.5)
    for pid in (tmp_path / "pids").read_text().split():
        assert not Path("/proc", pid).exists()


def test_a_text_file(script: Callable[[str, str], Path], store: Store) -> None:
    assert "is no program for this machine" in refused(script("notes.txt", "buy milk\n"), store)


def test_a_file_that_is_not_executable(tmp_path: Path, store: Store) -> None:
    path = tmp_path / "plain"
    path.touch(0o644)
    assert "is not executable" in refused(path, store)


def test_a_qemu_that_knows_too_little(stand_in: Callable[..., StandIn], store: Store) -> None:
    broken = stand_in(machines=None)  # it dies of the question
    assert "it exited with status 1 and said: TypeError" in refused(broken.path, store)


def test_an_answer_is_remembered_until_the_program_is_another(stand_in: Callable[..., StandIn], store: Store) -> None:
    program = stand_in()
    first = probe.ask(candidate(program.path), store)
    assert first.version == "11.1.3"
    assert first.package == "made up"
    assert first.arch == "x86_64"
    assert first.devices == {"vfio-user-pci", "edu"}
    assert first.machines == {"pc", "pc-11.1", "q35", "q35-11.1"}
    assert first.accelerators == {"tcg", "kvm"}
    assert probe.ask(candidate(program.path), store) == first
    assert len(program.starts) == 1
    program.path.write_text(program.path.read_text() + "# upgraded\n")
    assert probe.ask(candidate(program.path), store).version == first.version
    assert len(program.starts) == 2


def test_an_error_is_not_remembered(script: Callable[[str, str], Path], store: Store, tmp_path: Path) -> None:
    path = script("flaky", f"#!/bin/sh\necho >>{tmp_path}/starts\n")
    refused(path, store)
    refused(path, store)
    assert (tmp_path / "starts").read_text() == "\n\n"


def test_one_bad_program_does_not_hide_the_others(stand_in: Callable[..., StandIn], store: Store) -> None:
    both = [candidate(Path("/bin/true")), candidate(stand_in().path)]
    bad, good = probe.ask_all(both, store)
    assert isinstance(bad, Unusable)
    assert isinstance(good, Qemu)
    assert isinstance(probe.recalled(both[1], store), Qemu)
    assert probe.recalled(both[0], store) is None
