# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks of the user's own: what their judge raises or returns, told with the user's lines only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.check.finding import Verdict
from passthru.check.registry import files
from passthru.errors import DeadlineExceeded
from tests.unit.check.harness import Answer, judged

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
from passthru.check.finding import Finding, Verdict
from passthru.check.options import CheckOptions
from passthru.errors import DeadlineExceeded, MissingCapability
class Options(CheckOptions):
    bytes: int = 3
async def judge(context, options):
"""  # 6 lines


def written(path: Path, body: str) -> str:
    path.write_text(HEAD + body)
    return str(path)


async def test_its_finding_counts(tmp_path: Path) -> None:
    body = "    out = await context.run('date')\n    return Finding(Verdict.FAILED, f'{out.stdout} {options.bytes}')\n"
    found = await judged(written(tmp_path / "mine.py", body), {"bytes": 5}, Answer(b"now"))
    assert (found.verdict, found.summary) == (Verdict.FAILED, "b'now' 5")


async def test_a_class_in_a_file_can_be_a_check(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        HEAD.replace("\nclass", "\nclass Inner:\n  class", 1)
        .replace("    bytes", "      bytes")
        .replace("async", "  @staticmethod\n  async")
        + "      return Finding(Verdict.PASSED, 'inner')\n"
    )
    found = await judged(f"{path}:Inner", {}, Answer())
    assert (found.verdict, found.summary) == (Verdict.PASSED, "inner")
    assert files(f"{path}:Inner") == (str(path),)


async def test_an_exception_is_an_error_with_the_users_lines_only(tmp_path: Path) -> None:
    (tmp_path / "mine_parts.py").write_text("import json\ndef look(text):\n    return json.loads(text)\n")
    body = "    import mine_parts\n    return mine_parts.look('no JSON')\n"
    found = await judged(written(tmp_path / "mine.py", body), {}, Answer())
    assert found.verdict is Verdict.ERROR
    wanted = f"the check broke: {tmp_path}/mine_parts.py:3: JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    assert found.summary == wanted
    (trace,) = found.details
    assert f'"{tmp_path}/mine.py", line 8, in judge' in trace
    assert f'"{tmp_path}/mine_parts.py", line 3, in look' in trace
    assert trace.count("File ") == 2
    assert trace.endswith("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n")


async def test_what_is_no_finding_is_an_error(tmp_path: Path) -> None:
    found = await judged(written(tmp_path / "mine.py", "    pass\n"), {}, Answer())
    assert found.verdict is Verdict.ERROR
    assert found.summary == f"the check broke: {tmp_path}/mine.py:6: judge returned NoneType, not a Finding"


async def test_what_it_raises_of_ours_means_the_same(tmp_path: Path) -> None:
    body = "    raise MissingCapability('a probe', 'there is no probe')\n"
    found = await judged(written(tmp_path / "mine.py", body), {}, Answer())
    assert (found.verdict, found.summary) == (Verdict.SKIPPED, "there is no probe")
    with pytest.raises(DeadlineExceeded):
        await judged(
            written(tmp_path / "other.py", "    await context.run('x')\n"), {}, DeadlineExceeded("an answer", 1)
        )
