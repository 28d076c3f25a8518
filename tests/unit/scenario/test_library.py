# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding scenarios by name, file and directory."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from passthru.errors import ScenarioError
from passthru.resources import directory
from passthru.scenario.library import find, names

if TYPE_CHECKING:
    from pathlib import Path


def test_the_scenarios_that_come_along_have_names_and_summaries() -> None:
    found = names()
    assert {"mtty", "mtty-fixed"} <= found.keys()
    assert all(found.values())
    assert list(found) == sorted(found)


def test_listing_them_imports_no_pydantic() -> None:
    code = "import sys; from passthru.scenario.library import names; assert names(); print('pydantic' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"


def test_a_name_is_a_file_that_comes_along_wherever_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mtty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find("mtty") == (directory("guests") / "mtty.toml",)


def test_a_path_is_a_file_even_beside_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "mtty"
    file.write_text("")
    monkeypatch.chdir(tmp_path)
    assert [path.resolve() for path in find("./mtty")] == [file]
    assert find(str(file)) == (file,)


def test_a_directory_is_all_its_scenarios_and_not_its_parts(tmp_path: Path) -> None:
    for name, text in {
        "b.toml": "[check.x]\n",
        "a.toml": 'include = ["checks/x.toml"]\n',
        "part.toml": "[guest]\n",
        "broken.toml": "[",
        "notes.txt": "[check.x]\n",
        "checks/x.toml": "[check.x]\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [path.name for path in find(str(tmp_path))] == ["a.toml", "b.toml", "broken.toml"]


def test_all_scenarios_that_come_along_are_a_directory_too() -> None:
    assert {path.stem for path in find(str(directory("guests")))} == names().keys()


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("mttty", 'there is no scenario mttty; did you mean "mtty"? there are: '),
        ("zzz", "there is no scenario zzz; there are: "),
        ("./none.toml", "./none.toml: there is no such file"),
        ("none.toml", "none.toml: there is no such file"),
        ("x" * 5000, "cannot be read"),
        ("a\0b", "there is no scenario a?b; there are: "),
    ],
)
def test_what_is_not_there_is_one_sentence(reference: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        find(reference)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(", ".join(names()))


def test_a_directory_without_scenarios_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="holds no scenario"):
        find(str(tmp_path))
