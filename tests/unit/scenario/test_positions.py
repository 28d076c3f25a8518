# SPDX-License-Identifier: GPL-2.0-or-later
"""Where keys are in a TOML file."""

from __future__ import annotations

from passthru.scenario.positions import lines_of_keys, unfinished_line

TEXT = '''\
# a comment

top = 1
list = [
  1,
  { x = 2 },
]
[table]
text = """
[not.a.table]
key = 1
"""
"quoted key".inner = true

[[many]]
a = 1
[[many]]
# between
a = 2
[table.late]
last = "no newline at the end"'''


def test_each_key_is_found_in_the_line_in_which_it_begins() -> None:
    lines = lines_of_keys(TEXT)
    assert lines[("top",)] == 3
    assert lines[("list",)] == lines[("list", 1, "x")] == 4
    assert lines[("table",)] == 8
    assert lines[("table", "text")] == 9
    assert lines[("table", "quoted key", "inner")] == 13
    assert lines[("many", 0, "a")] == 16
    assert lines[("many", 1)] == 17
    assert lines[("many", 1, "a")] == 19
    assert lines[("table", "late", "last")] == 21
    assert ("not",) not in lines


def test_what_ends_a_line_elsewhere_does_not_end_one_here() -> None:
    assert lines_of_keys("# \u2028 \x85 \ufeff\r\n'a\u2028b' = 1\r\nc = 2\r\n")[("c",)] == 3


def test_the_line_of_a_statement_that_is_cut_off() -> None:
    assert unfinished_line("a = 1\n# x\nb = [\n1,\n\n") == 3
    assert unfinished_line("a = '") == 1


def test_a_very_long_file_goes_without_lines() -> None:
    assert lines_of_keys("# x\n" * 3000 + "a = 1\n") == {}
