# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading TAP and KTAP: plans, nested subtests, directives, bail outs, and what a test runner puts around them."""

from __future__ import annotations

import pytest

from passthru.check.tap import begins, parse

KUNIT = """\
KTAP version 1
1..2
  KTAP version 1
  # Subtest: main_suite
  1..2
    KTAP version 1
    # Subtest: deep
    1..2
    ok 1 first
    not ok 2 second
  not ok 1 deep
  ok 2 flat # SKIP no hardware
not ok 1 main_suite
ok 2 other
"""
RUNNER = """\
TAP version 13
1..1
# timeout set to 45
# selftests: vfio: vfio_dma_mapping_test
# TAP version 13
# 1..2
# # Starting 2 tests from 1 test cases.
# #  RUN           global.map ...
# # vfio_dma_mapping_test.c:12:map:Expected 0 (0) == ret (-22)
# not ok 1 global.map
# ok 2 global.unmap
not ok 1 selftests: vfio: vfio_dma_mapping_test # exit=1
"""
TAP14 = """\
TAP version 14
1..2
# Subtest: inner
    1..2
    ok 1 - a
      ---
      not ok 9 - inside of YAML this is no result
      ...
    not ok 2 - b # TODO not yet
ok 1 - inner
ok 2 - with \\# a hash # skipped: for want of a card
"""


def leaves(text: str) -> list[tuple[str, bool, bool]]:
    """Paths, whether ok, whether excused."""
    return [(path, result.ok, excused) for path, result, excused in parse(text).leaves()]


def test_ktap_is_nested_as_deep_as_it_likes() -> None:
    assert parse(KUNIT).complaints() == []
    assert leaves(KUNIT) == [
        ("main_suite / deep / first", True, False),
        ("main_suite / deep / second", False, False),
        ("main_suite / flat", True, True),
        ("other", True, False),
    ]


def test_the_kernels_runner_prefixes_what_its_programs_print() -> None:
    assert parse(RUNNER).complaints() == []
    name = "selftests: vfio: vfio_dma_mapping_test"
    assert leaves(RUNNER) == [(f"{name} / global.map", False, False), (f"{name} / global.unmap", True, False)]
    first = next(parse(RUNNER).leaves())[1]
    assert first.comments[-1] == "vfio_dma_mapping_test.c:12:map:Expected 0 (0) == ret (-22)"


def test_tap_14_has_yaml_escapes_and_todo() -> None:
    assert parse(TAP14).complaints() == []
    assert leaves(TAP14) == [
        ("inner / a", True, False),
        ("inner / b", False, True),
        ("with # a hash", True, True),
    ]
    assert [result.reason for _, result, _ in parse(TAP14).leaves()] == ["", "not yet", "for want of a card"]


def test_a_line_of_the_kernels_log_may_stand_before() -> None:
    text = "".join(f"[   12.{number:06}] {line}\n" for number, line in enumerate(KUNIT.splitlines()))
    assert leaves(text) == leaves(KUNIT)
    assert begins(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1..3\nok 1\nok 2\n", "of 3 planned tests 1 have no result: test 3"),
        ("1..3\n", "of 3 planned tests 3 have no result: tests 1, 2, 3"),
        ("1..1\nok 1\nok 2\n", "it planned 1 tests, and told the results of test 2 as well"),
        ("1..2\nok 1\nok 1\n", "it told the results of test 1 more than once"),
        ("1..1\n1..1\nok 1\n", "it told 2 plans"),
        ("1..2\nok 1\nBail out! the card is gone\n", "it bailed out: the card is gone"),
        ("1..1\n    1..2\n    ok 1 - a\nok 1 - outer\n", "outer: of 2 planned tests 1 have no result: test 2"),
        ("1..1\n    # Subtest: lost\n    1..1\n    ok 1\n", "lost came to no result"),
        ("1..1\n  KTAP version 1\n  1..1\n    KTAP version 1\n    1..2\n    ok 1 x\nok 1 s\n", "of 2 planned tests 1"),
    ],
)
def test_what_is_wrong_with_the_telling(text: str, said: str) -> None:
    assert said in "; ".join(parse(text).complaints())


def test_results_without_numbers_count_by_their_place_and_a_plan_may_come_last() -> None:
    block = parse("ok a\nnot ok b\nok\n1..3\n")
    assert (block.complaints(), [result.title for result in block.results]) == ([], ["a", "b", "a test without a name"])


@pytest.mark.parametrize(
    ("line", "directive", "reason"),
    [
        ("ok 1 a # SKIP", "SKIP", ""),
        ("ok 1 # skip because", "SKIP", "because"),
        ("not ok 1 a # XFAIL known", "XFAIL", "known"),
        ("not ok 1 a # TIMEOUT 45 seconds", "TIMEOUT", "45 seconds"),
        ("ok 1 a about skip", "", ""),
        ("ok 1 a \\# SKIP", "", ""),
    ],
)
def test_directives(line: str, directive: str, reason: str) -> None:
    (result,) = parse(f"1..1\n{line}\n").results
    assert (result.directive, result.reason) == (directive, reason)


@pytest.mark.parametrize(
    ("text", "is_tap"),
    [
        ("", False),
        ("hello\nok then\n", False),
        ("okay 1\n", False),
        ("hello\nTAP version 13\n", True),
        ("1..2\n", True),
        ("\nok 1 a\n", True),
        ("KTAP version 1\n", True),
    ],
)
def test_tap_is_known_by_its_own_word(text: str, is_tap: bool) -> None:
    assert begins(text) is is_tap
