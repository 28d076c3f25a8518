# SPDX-License-Identifier: GPL-2.0-or-later
"""What is remembered, and what tells one program from another."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from passthru.image.store import Store
from passthru.qemu import answers, identity

if TYPE_CHECKING:
    from pathlib import Path

ABOUT = {"question": "is it so", "qemu": "1"}


def test_an_answer_is_kept_until_it_is_forgotten(store: Store) -> None:
    assert answers.recall(store, ABOUT) is None
    answers.keep(store, ABOUT, {"trouble": ""})
    assert answers.recall(Store(store.root), ABOUT) == {"trouble": ""}
    assert answers.recall(store, {**ABOUT, "qemu": "2"}) is None
    answers.forget(store, ABOUT)
    assert answers.recall(store, ABOUT) is None
    answers.forget(store, ABOUT)


def test_a_damaged_answer_is_none(store: Store) -> None:
    answers.keep(store, ABOUT, {"a": 1})
    (file,) = (store.root / "area/answers").iterdir()
    for damage in (b"", b"{", b"[]", b"\xff", b"{}"):
        file.write_bytes(damage)
        assert answers.recall(store, ABOUT) is None


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    store = Store(file)
    answers.keep(store, ABOUT, {"a": 1})
    assert answers.recall(store, ABOUT) is None
    answers.forget(store, ABOUT)
    assert file.read_bytes() == b""


def test_a_program_is_another_after_it_was_replaced(tmp_path: Path) -> None:
    program, link = tmp_path / "program", tmp_path / "link"
    program.write_bytes(b"one")
    link.symlink_to(program)
    first = identity.of_file(program)
    assert identity.of_file(link) == first
    upgrade = tmp_path / "upgrade"
    upgrade.write_bytes(b"two")  # as long, and as old to the second
    os.utime(upgrade, ns=(0, program.stat().st_mtime_ns))
    upgrade.replace(program)
    assert identity.of_file(program) != first
    assert identity.of_file(link) == identity.of_file(program)


def test_a_boot_has_one_name() -> None:
    assert identity.of_this_boot() == identity.of_this_boot() != ""
