# SPDX-License-Identifier: GPL-2.0-or-later
"""What a failure shows of a guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.guest.commands import CommandFailed, CommandTimeout, Completed
from passthru.guest.kernel_log import KernelLog
from passthru.pytest_plugin.record import COMMANDS, OUTPUT_LINES, Record

if TYPE_CHECKING:
    from pathlib import Path


def sections(record: Record) -> dict[str, str]:
    return {title.rpartition(": ")[2]: text for title, text in record.sections()}


def test_commands_with_outputs_and_ends(tmp_path: Path) -> None:
    record = Record("mtty", tmp_path)
    record.command("echo a\nfalse").completed(Completed(b"a\n", b"\x1b[31m\xff\n", 1))
    failed = record.command("false")
    failed.broke(CommandFailed("false", Completed(b"out", b"", 1)))
    record.command("hang").broke(CommandTimeout("hang", 1.0, b"so far", b"", "killed"))
    record.command("forever")
    shown = sections(record)["the last commands in the guest"].splitlines()
    assert shown[0].startswith("$ echo a false   (status 1, ")
    assert shown[1:5] == ["  stdout:", "  | a", "  stderr:", "  | \\x1b[31m\\xff"]
    assert shown[5].startswith("$ false   (status 1, ")
    assert "$ hang   (waited 1.0 s for the guest command `hang` to end" in shown[8]
    assert shown[10] == "  | so far"
    assert shown[11] == "$ forever   (still running)"


def test_only_the_last_commands_and_lines(tmp_path: Path) -> None:
    record = Record("mtty", tmp_path)
    for number in range(COMMANDS + 3):
        record.command(f"command {number}").completed(Completed(b"line\n" * 100, b"", 0))
    text = sections(record)["the last commands in the guest"]
    assert text.count("$ command") == COMMANDS
    assert "$ command 2 " not in text
    assert text.count("| line") == COMMANDS * OUTPUT_LINES
    assert f"the last {OUTPUT_LINES} of 100 lines" in text


def test_the_commands_of_the_test_or_else_those_before(tmp_path: Path) -> None:
    record = Record("mtty", tmp_path)
    record.command("before").completed(Completed(b"", b"", 0))
    record.count_before = record.count
    assert "$ before" in sections(record)["the last commands in the guest"]
    record.command("now").completed(Completed(b"", b"", 0))
    assert "$ before" not in sections(record)["the last commands in the guest"]


async def test_the_kernel_s_lines_and_the_directory(tmp_path: Path) -> None:
    record = Record("mtty", tmp_path, used="QEMU 11", notes=["KVM gave up"])
    (tmp_path / "ttyS0.log").write_text("from the recording\n")
    assert sections(record)["the last lines of the guest's kernel"] == "from the recording"
    record.kernel_log = KernelLog()
    record.kernel_log.feed(b"[    0.1] one\nhalf \x07")
    assert sections(record)["the last lines of the guest's kernel"] == "one\nhalf \\x07"
    (tmp_path / "qemu.sh").touch()
    assert sections(record)["the run directory"].splitlines() == [
        str(tmp_path),
        "QEMU 11",
        "KVM gave up",
        f"the same guest by hand: {tmp_path / 'qemu.sh'}",
    ]


def test_a_guest_that_never_began(tmp_path: Path) -> None:
    assert list(sections(Record("mtty", tmp_path))) == ["the run directory"]
