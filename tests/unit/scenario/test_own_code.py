# SPDX-License-Identifier: GPL-2.0-or-later
"""Models and checks of the user's own in scenarios: found, validated like ours, and told by their file and line."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from passthru import installed
from passthru.check import registry
from passthru.errors import ScenarioError
from passthru.scenario import device_models
from passthru.scenario.loading import load, resolved
from passthru.scenario.schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = "from dataclasses import dataclass\nfrom passthru.emulation.model import Model\n"
CARD = HEAD + "class Card(Model):\n    @dataclass(frozen=True)\n    class Options(Model.Options):\n        {}\n"
CHECK = """\
from passthru.check.finding import Finding
from passthru.check.options import CheckOptions
class Options(CheckOptions):
    {}
async def judge(context, options):
    return Finding("passed", "fine")
"""
DEVICE = '[device.card]\nbus = "vfio-user"\nmodel = "card.py:Card"\n'  # lines 1 to 3
USE = '[check.a]\nuse = "mine.py"\n'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "card.py").write_text(CARD.format("depth: int = 16; speed: float = 1.0; loud: bool = False"))
    (tmp_path / "mine.py").write_text(CHECK.format("bytes: int = 3"))
    return tmp_path


def told(place: Path, text: str) -> list[str]:
    path = place / "s.toml"
    path.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        load(path)
    return str(caught.value).replace(f"{place}/", "").splitlines()


def test_own_models_and_checks_have_options_like_ours(place: Path) -> None:
    (place / "s.toml").write_text(DEVICE + "depth = 3\n" + USE + "bytes = 4\n")
    scenario = load(place / "s.toml")
    assert scenario.device["card"].model == f"{place}/card.py:Card"
    assert scenario.device["card"].options == {"depth": 3, "speed": 1.0, "loud": False}
    assert scenario.check["a"].use == f"{place}/mine.py"
    assert scenario.check["a"].model_dump()["bytes"] == 4
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "scenario.json").write_text(json.dumps(resolved(scenario)))
    assert load(place / "elsewhere" / "scenario.json").device == scenario.device


def test_paths_are_relative_to_the_file_that_names_them(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "parts").mkdir()
    (place / "parts" / "part.toml").write_text(DEVICE.replace("card.py", "../card.py"))
    (place / "s.toml").write_text('include = ["parts/part.toml"]\n')
    assert load(place / "s.toml").device["card"].model == f"{place}/parts/../card.py:Card"
    monkeypatch.chdir(place)
    over = load(place / "s.toml", ["device.card.model=card.py:Card"])
    assert over.device["card"].model == f"{place}/card.py:Card"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEVICE + "depht = 1\n", 's.toml:4: device.card.depht: is no known key; did you mean "depth"?'),
        (DEVICE + 'depth = "deep"\n', 's.toml:4: device.card.depth: should be an integer, not "deep"'),
        (USE + "bytse = 1\n", 's.toml:3: check.a.bytse: is no known key; did you mean "bytes"?'),
        (USE + "bytes = 1.5\n", "s.toml:3: check.a.bytes: should be an integer"),
        (
            DEVICE.replace("card.py:Card", "none.py:Card"),
            "s.toml:3: device.card.model: none.py: there is no such file",
        ),
        (
            DEVICE.replace(":Card", ":Crad"),
            "s.toml:3: device.card.model: card.py: has no class Crad; models in it: Card",
        ),
        (
            DEVICE.replace(":Card", ""),
            "s.toml:3: device.card.model: card.py: which class of it? write card.py:Card; models in it: Card",
        ),
        (USE.replace("mine.py", "mine.py:Other"), "s.toml:2: check.a.use: mine.py: has no Other; a check is a module"),
        (USE.replace("mine.py", "mien.py"), "s.toml:2: check.a.use: mien.py: there is no such file"),
        (DEVICE.replace("card.py:Card", ""), "s.toml:3: device.card.model: is missing; there are: "),
        (DEVICE.replace('"card.py:Card"', "[3]"), "s.toml:3: device.card.model: there is no device model [3]; "),
    ],
)
def test_what_the_scenario_has_wrong(place: Path, text: str, said: str) -> None:
    (line,) = told(place, text)
    assert line.startswith(said), line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import no_such_module\n",
            "card.py:1: ModuleNotFoundError: No module named 'no_such_module'; a device server",
        ),
        ("x = 1\ny = 1 / 0\n", "card.py:2: ZeroDivisionError: division by zero"),
        ("x = 1\n\ndef f(:\n", "card.py:3: SyntaxError: invalid syntax"),
        (b"x = 1\ny = '\xff'\n", "card.py:2: SyntaxError: (unicode error) 'utf-8' codec can't decode byte 0xff"),
        (b"\0", "card.py"),
        ("import sys\nsys.exit(3)\n", "card.py:2: ends the program (sys.exit), although it is imported"),
        ("x = 1\nclass Card:\n    pass\n", "card.py:2: the class Card is no model; derive it from "),
        ("\ndef Card():\n    pass\n", "card.py:2: Card is no class; models in it: none"),
        (HEAD + "class Card(Model):\n    Options = 3\n", "card.py:3: Card.Options is no dataclass; write @dataclass"),
        (
            HEAD + "class Card(Model):\n    class Options(Model.Options):\n        a: int = 1\n",
            "card.py:3: Card.Options has options but is no dataclass itself; write @dataclass(frozen=True) above it",
        ),
        (CARD.format("a: int"), "card.py:3: Card.Options.a has no default; give it one"),
        (CARD.format("a: list = None"), "card.py:3: Card.Options.a is of type list; it can be bool, int, float, str"),
        (CARD.format("a: 'Deep' = 1"), "card.py:3: Card.Options: a type cannot be told: name 'Deep' is not defined"),
        (CARD.format("address: str = ''"), "card.py:3: no option can be called address"),
        (CARD.format("model_dump: str = ''"), "card.py:3: no option can be called model_dump"),
    ],
)
def test_what_a_model_has_wrong(place: Path, code: str | bytes, said: str) -> None:
    (place / "card.py").write_bytes(code.encode() if isinstance(code, str) else code)
    (line,) = told(place, DEVICE)
    assert line.startswith(f"s.toml:3: device.card.model: {said}"), line


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_module\n", "mine.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("async def judge(context, options): ...\n", "mine.py: has no Options; derive a class Options from "),
        (
            "class Options: ...\nasync def judge(context, options): ...\n",
            "mine.py: its Options are not derived from passthru.check.options.CheckOptions",
        ),
        (CHECK.format("a: int = 1").replace("judge", "jugde"), "mine.py: has no judge; write async def judge"),
        (
            CHECK.format("a: int = 1").replace("async def", "def"),
            "mine.py:5: judge is no async function; write async def judge",
        ),
        (
            CHECK.format("a: int = 1").replace("context, options", "context"),
            "mine.py:5: judge takes other arguments than (context, options)",
        ),
        (CHECK.format("a: 'Nowhere' = 1"), "mine.py: a type of its Options cannot be told: "),
        (CHECK.format("a: Nowhere = 1"), "mine.py:4: NameError: name 'Nowhere' is not defined"),
    ],
)
def test_what_a_check_has_wrong(place: Path, code: str, said: str) -> None:
    (place / "mine.py").write_text(code)
    (line,) = told(place, USE)
    assert line.startswith(f"s.toml:2: check.a.use: {said}"), line


def test_a_mistake_in_a_module_beside_it_is_told_there(place: Path) -> None:
    (place / "card.py").write_text("import card_parts\n")
    (place / "card_parts.py").write_text("x = 1\n\nraise ValueError('no\\nmore')\n")
    (line,) = told(place, DEVICE)
    assert line.endswith("card_parts.py:3: ValueError: no")


def test_modules_of_one_name_beside_files_in_two_directories(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "card.py").write_text("from shared_parts import DEPTH\n" + CARD.format("depth: int = DEPTH"))
        (tmp_path / name / "shared_parts.py").write_text(f"DEPTH = {len(name) + len(name) * (name == 'two')}\n")
        (tmp_path / name / "s.toml").write_text(DEVICE)
    depths = [load(tmp_path / name / "s.toml").device["card"].options["depth"] for name in ("one", "two", "one")]
    assert depths == [3, 6, 3]
    assert device_models.locate(f"{tmp_path}/two/card.py:Card").files == (
        f"{tmp_path}/two/card.py",
        f"{tmp_path}/two/shared_parts.py",
    )


def test_nothing_beside_a_file_hides_a_library(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise ValueError('not the one')\n")
    (tmp_path / "card.py").write_text("import json\njson.dumps\n" + CARD.format("a: int = 1"))
    (tmp_path / "s.toml").write_text(DEVICE)
    assert load(tmp_path / "s.toml").device["card"].options == {"a": 1}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package ``own_bells`` with a model, a check, and some of each that are wrong."""
    site = tmp_path / "site"
    (site / "own_bells-1.dist-info").mkdir(parents=True)
    (site / "own_bells").mkdir()
    (site / "own_bells-1.dist-info" / "METADATA").write_text("Name: own-bells\nVersion: 1\n")
    (site / "own_bells-1.dist-info" / "entry_points.txt").write_text(
        "[passthru.models]\nbell = own_bells.card:Card\nbroken-bell = own_bells.broken:Card\nmtty = own_bells.card:No\n"
        "[passthru.checks]\nringing = own_bells.mine\nsilent = own_bells.silent\n"
    )
    for name, text in {
        "__init__": "",
        "card": "from .parts import DEPTH\n" + CARD.format("depth: int = DEPTH"),
        "parts": "DEPTH = 9\n",
        "broken": "\nimport nothing_like_it\n",
        "mine": CHECK.format("bytes: int = 3"),
    }.items():
        (site / "own_bells" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(site))
    caches = (installed.names, device_models.locate, device_models.device_type, registry._own)
    for cached in caches:
        cached.cache_clear()
    yield site
    for cached in caches:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_bells"]:
        del sys.modules[name]
    while str(site) in sys.path:
        sys.path.remove(str(site))


def test_installed_models_and_checks_are_found_by_their_entry_points(package: Path, tmp_path: Path) -> None:
    text = DEVICE.replace("card.py:Card", "bell") + '[device.b]\nbus = "vfio-user"\nmodel = "mtty"\n'
    (tmp_path / "s.toml").write_text(text + USE.replace("mine.py", "ringing"))
    scenario = load(tmp_path / "s.toml")
    assert scenario.device["card"].model == "bell"
    assert scenario.device["card"].options == {"depth": 9}
    assert scenario.device["b"].options["ports"] == 2  # ours cannot be replaced
    assert scenario.check["a"].model_dump()["bytes"] == 3
    assert device_models.locate("bell").words == ("own_bells.card:Card", "--package-root", str(package))


def test_what_an_installed_package_has_wrong(package: Path, tmp_path: Path) -> None:
    (line,) = told(tmp_path, DEVICE.replace("card.py:Card", "broken-bell"))
    assert "the entry point broken-bell of own-bells (own_bells.broken:Card) cannot be loaded: " in line
    assert line.endswith("site/own_bells/broken.py:2: ModuleNotFoundError: No module named 'nothing_like_it'")
    (line,) = told(tmp_path, USE.replace("mine.py", "silent"))
    assert "the entry point silent of own-bells (own_bells.silent) cannot be loaded: " in line
    (line,) = told(tmp_path, DEVICE.replace("card.py:Card", "bel"))
    assert 'did you mean "bell"? there are: bell, ' in line


def test_the_schema_takes_own_models_and_checks_by_their_files() -> None:
    definitions = schema()["$defs"]
    assert {"device-own", "device-companion", "check-own", "CompanionSpec"} <= definitions.keys()
    assert definitions["device-own"]["properties"]["model"]["pattern"]
    assert definitions["device-own"]["required"] == ["model"]


COMPANION = '[device.card]\nbus = "vfio-user"\ncompanion = {{ {} }}\n'


def test_a_companion_runs_where_its_file_is(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    part = COMPANION.format('command = ["./server", "--at", "{socket}"], socket = "s.sock"')
    (tmp_path / "parts" / "part.toml").write_text(part)
    (tmp_path / "s.toml").write_text('include = ["parts/part.toml"]\n')
    device = load(tmp_path / "s.toml").served["card"]
    assert device.model == ""
    assert device.options == {}
    assert device.companion is not None
    assert device.companion.command == ("./server", "--at", "{socket}")
    assert (device.companion.directory, device.companion.socket) == (f"{tmp_path}/parts", f"{tmp_path}/parts/s.sock")
    (tmp_path / "scenario.json").write_text(json.dumps(resolved(load(tmp_path / "s.toml"))))
    assert load(tmp_path / "scenario.json").device["card"] == device


def test_a_companion_beside_a_model_is_like_that_model(tmp_path: Path) -> None:
    text = COMPANION.format('socket = "/run/s.sock"') + 'model = "mtty"\nports = 1\n'
    (tmp_path / "s.toml").write_text(text)
    device = load(tmp_path / "s.toml").served["card"]
    assert (device.model, device.options) == ("mtty", {"ports": 1, "fifo": "faithful"})
    assert device.companion is not None
    assert (device.companion.command, device.companion.socket) == ((), "/run/s.sock")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", 'companion: needs "command" (what to start), "socket" (where a server listens), or both'),
        ("command = []", 'companion: needs "command"'),
        ('command = ["server"]', "companion: has a command without {socket} in it"),
        ('command = ["", "{socket}"]', "companion: has a command whose program is an empty word"),
        ('command = "server {socket}"', "companion.command: should be a list"),
        ('socket = ""', "companion.socket: should not be empty"),
        (f'socket = "/{"x" * 107}"', "companion.socket: should be a path of at most 107 bytes, counted from /"),
        ('socket = "/s", timeout = 0', "companion.timeout: should be greater than 0"),
        ('sokcet = "/s"', 'companion.sokcet: is no known key; did you mean "socket"?'),
    ],
)
def test_what_a_companion_has_wrong(tmp_path: Path, given: str, said: str) -> None:
    lines = told(tmp_path, COMPANION.format(given))
    assert any(line.startswith(f"s.toml:3: device.card.{said}") for line in lines), lines


def test_a_companion_of_the_wrong_type(tmp_path: Path) -> None:
    (line,) = told(tmp_path, '[device.card]\nbus = "vfio-user"\ncompanion = 3\n')
    assert line.startswith("s.toml:3: device.card.companion: should be ")


def test_listing_scenarios_executes_none_of_them(place: Path) -> None:
    from passthru.scenario.library import find

    (place / "card.py").write_text("raise ValueError\n")
    (place / "s.toml").write_text(DEVICE + USE)
    assert find(f"{place}{os.sep}") == (place / "s.toml",)
