# SPDX-License-Identifier: GPL-2.0-or-later
"""Wrong scenarios: each mistake is one sentence with file, line and key, and all of them are told at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from passthru.errors import ScenarioError
from passthru.scenario.loading import load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DEVICE = '[device.card]\nbus = "vfio-user"\nmodel = "mtty"\n'  # lines 1 to 3
DMESG = DEVICE + '[check.a]\nuse = "dmesg"\ndevice = "card"\nexpect = ["a"]\n[[check.a.variant]]\n'
CHECK = '[check.a]\nuse = "command"\ncommand = "x"\n'


def told(path: Path, text: str | bytes, overrides: Sequence[str] = ()) -> list[str]:
    """The lines of the error that loading ``text`` raises, with the file's directory left out."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ScenarioError) as caught:
        load(path, overrides)
    assert caught.value.exit_code == 2
    return str(caught.value).replace(f"{path.parent}/", "").splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.toml"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DEVICE + "prots = 1\n", 's.toml:4: device.card.prots: is no known key; did you mean "ports"?'),
        (DEVICE + "ports = 3\n", "s.toml:4: device.card.ports: should be 1 or 2, not 3"),
        (DEVICE + 'ports = "1"\n', 's.toml:4: device.card.ports: should be 1 or 2, not "1"'),
        (
            DEVICE + 'address = "04.0"\n',
            's.toml:4: device.card.address: should be a slot from "05.0" to "1e.0" (the lower ones and 1f are the'
            ' machine\'s own), not "04.0"',
        ),
        (
            DEVICE.replace("mtty", "mty"),
            's.toml:3: device.card.model: there is no device model "mty"; did you mean "mtty"? there are: ',
        ),
        (
            DEVICE.replace("vfio-user", "pcie"),
            's.toml:2: device.card.bus: there is no bus "pcie"; did you mean "pci"? there are: amba, fsl-mc, mdev, ',
        ),
        (DEVICE.replace("vfio-user", "pci").replace('"pci"', "3"), "s.toml:2: device.card.bus: there is no bus 3"),
        (DEVICE.replace('bus = "vfio-user"', ""), "s.toml:1: device.card.bus: is missing; there are: vfio-user, pci"),
        ("\n\n[device]\ncard = 3\n", "s.toml:4: device.card: should be a table"),
        ("device = 3\n", "s.toml:1: device: should be tables [device.ID]"),
        (
            '[check.a]\nuse = "lspic"\n',
            's.toml:2: check.a.use: there is no check "lspic"; did you mean "lspci"? there are: command, ',
        ),
        ("# x\n[check.a]\ncommand = 'x'\n", "s.toml:2: check.a.use: is missing; there are: lspci, setserial,"),
        ('[check.a]\nuse = "command"\n', "s.toml:1: check.a.command: is missing"),
        (
            CHECK + 'device = "cart"\n' + DEVICE,
            's.toml:4: check.a.device: there is no device "cart"; did you mean "card"? there are: card',
        ),
        (CHECK + "timeout = 0\n", "s.toml:4: check.a.timeout: should be greater than 0, not 0"),
        (CHECK + 'timeout = "5"\n', 's.toml:4: check.a.timeout: should be a number, not "5"'),
        (CHECK + 'matches = "("\n', "s.toml:4: check.a.matches: is not a regular expression (missing )"),
        (CHECK + 'matches = "a"\nequals = "a"\n', 's.toml:1: check.a: has both "matches" and "equals"; keep one'),
        (
            DEVICE + '[check.a]\nuse = "serial-loopback"\n',
            "s.toml:4: check.a.device: is missing",
        ),
        (
            DEVICE + '[check.a]\nuse = "serial-loopback"\ndevice = "card"\nports = "some"\n',
            "s.toml:7: check.a.ports: should be 'all' or a list, not \"some\"",
        ),
        (
            DMESG + "when = { prots = 1 }\n",
            's.toml:9: check.a.variant[0].when.prots: there is no option of model mtty "prots"; did you mean "ports"?',
        ),
        (
            DMESG + "when = {}\nwehn = {}\n",
            's.toml:10: check.a.variant[0].wehn: is no known key; did you mean "when"?',
        ),
        ("[guest]\nkernl = 'x'\n" + CHECK, 's.toml:2: guest.kernl: is no known key; did you mean "kernel"?'),
        ("[guest]\nzzz = 'x'\n" + CHECK, "s.toml:2: guest.zzz: is no known key; known keys are accel, cmdline, cpus,"),
        ("[gest]\n" + CHECK, 's.toml:1: gest: is no known key; did you mean "guest"?'),
        ("[guest]\nmemory = 256\n" + CHECK, "s.toml:2: guest.memory: should be an amount with its unit"),
        ("[guest]\ncpus = true\n" + CHECK, "s.toml:2: guest.cpus: should be an integer, not true"),
        ("[guest]\naccel = 'hvf'\n" + CHECK, "s.toml:2: guest.accel: should be 'auto', 'kvm' or 'tcg', not \"hvf\""),
        ("[guest]\nmodules = ['a', 'b c']\n" + CHECK, "s.toml:2: guest.modules[1]: should be a word of letters"),
        ("[guest]\nquirks = [\n  'a',\n  '[',\n]\n" + CHECK, "s.toml:2: guest.quirks[1]: is not a regular expression"),
        ("[guest]\ncmdline = \"a\\nb\"\n" + CHECK, "s.toml:2: guest.cmdline: should be one line"),
        ("[host]\nkind = 'rigg'\n" + CHECK, "s.toml:2: host.kind: should be 'local' or 'rig', not \"rigg\""),
        ("subject = []\n" + CHECK, "s.toml:1: subject: should not be empty"),
        ("subject = ['devise']\n" + CHECK, "s.toml:1: subject[0]: should be 'device', 'guest-kernel', 'host-kernel'"),
        ("subject = ['qemu', 'qemu']\n" + CHECK, "s.toml:1: subject: should name each thing once"),
        ("subject = 'device'\n" + CHECK, 's.toml:1: subject: should be a list, not "device"'),
        ("deadline = -1\n" + CHECK, "s.toml:1: deadline: should be greater than 0, not -1"),
        ("summary = 3\n" + CHECK, "s.toml:1: summary: should be a string, not 3"),
        (CHECK.replace("check.a", 'check."a b"'), 's.toml:1: check."a b": should be a word of letters'),
        ("summary = 'nothing else'\n", "s.toml: has neither a [device.ID] nor a [check.ID] table"),
        ("include = 'x.toml'\n", "s.toml:1: include: should be a list of file names"),
        ("summary = 'x'\ninclude = [3]\n", "s.toml:2: include: should be a list of file names"),
        ("include = [\"\\u0000\"]\n", "s.toml:1: include:"),
        ("\n# only a comment\n", "s.toml: is empty; a scenario has [device.ID] and [check.ID] tables"),
        ("", "s.toml: is empty; a scenario has [device.ID] and [check.ID] tables"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_file_line_and_key(path: Path, text: str, said: str) -> None:
    (line,) = told(path, text)
    assert line.startswith(said)


def test_all_mistakes_of_a_file_are_told_at_once_in_its_order(path: Path) -> None:
    text = (
        "summary = 3\n"
        "[guest]\nkernl = 'x'\nmemory = 'much'\n"
        "[check.a]\nuse = 'commnd'\n"
        "[check.b]\nuse = 'command'\n"
        "[device.card]\nbus = 'vfio-user'\nmodel = 'mtty'\nports = 7\nx = 1\n"
    )
    lines = told(path, text)
    assert [line.split(": ")[0] for line in lines] == [f"s.toml:{number}" for number in (1, 3, 4, 6, 7, 12, 13)]


def test_two_devices_do_not_share_a_slot(path: Path) -> None:
    text = DEVICE + 'address = "05.0"\n' + DEVICE.replace("card", "other") + 'address = "05.0"\n'
    assert told(path, text) == ["s.toml:8: device.other.address: is 05.0, where card is already"]


def test_a_table_that_is_wrong_makes_no_second_error_of_what_refers_to_it(path: Path) -> None:
    text = DEVICE + "ports = 9\n" + CHECK + 'device = "card"\n'
    assert told(path, text) == ["s.toml:4: device.card.ports: should be 1 or 2, not 9"]


def test_a_wrong_value_over_many_lines_is_told_where_its_key_is(path: Path) -> None:
    text = DEVICE + "[check.a]\n\nuse = 'lspci'\ndevice = 'card'\n# of old\nexpect = '''\none\ntwo\n'''\n"
    (line,) = told(path, text)
    assert line.startswith('s.toml:9: check.a.expect: is no listing of lspci: the listing begins with "one"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb 2\n", "s.toml:2:3: is no valid TOML: expected '=' after a key"),
        ("b = 1\na = [1,\n\n\n", "s.toml:2: is no valid TOML: "),
        ("a = 1\na = 2\n", "s.toml:2:"),
        ("[a]\n[a]\n", "s.toml:2:3: is no valid TOML: cannot declare"),
        ("x = 'abc\n", "s.toml:1:"),
    ],
)
def test_what_is_no_toml_is_told_with_line_and_column(path: Path, text: str, said: str) -> None:
    (line,) = told(path, text)
    assert line.startswith(said)


@pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\x01\x00\xff\xfe", b"# fine\n\x80\n", bytes(range(256)) * 4])
def test_binary_garbage_is_one_sentence(path: Path, data: bytes) -> None:
    (line,) = told(path, data)
    assert line.startswith("s.toml:")


def test_what_is_no_utf8_is_told_with_its_line(path: Path) -> None:
    assert told(path, b"# fine\nsummary = '\xe4'\n") == [
        "s.toml:2: is not UTF-8 text (byte 0xe4); a scenario is a TOML file"
    ]


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    for name, said in (
        ("none.toml", "there is no such file"),
        (".", "is no regular file"),
        ("pipe.toml", "is no regular"),
    ):
        with pytest.raises(ScenarioError, match=said):
            load(tmp_path / name)


def test_a_huge_file_is_refused_and_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 33)
    with pytest.raises(ScenarioError, match="is larger than 1024 KiB"):
        load(path)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "[check.a]\nb = " + "{c=" * 5000, ".".join("a" * 5000) + " = 1"])
def test_bottomless_nesting_is_one_sentence(path: Path, text: str) -> None:
    (line,) = told(path, text)
    assert line.startswith("s.toml")


def test_a_missing_part_is_told_at_the_include(path: Path) -> None:
    (line,) = told(path, "summary = 'x'\ninclude = ['parts/none.toml']\n")
    assert line == "s.toml:2: include: parts/none.toml: there is no such file"


def test_a_mistake_in_a_part_is_told_in_the_part(path: Path) -> None:
    (path.parent / "part.toml").write_text(CHECK + "tiemout = 3\n")
    assert told(path, "include = ['part.toml']\n[guest]\ncpus = 0\n") == [
        'part.toml:4: check.a.tiemout: is no known key; did you mean "timeout"?',
        "s.toml:3: guest.cpus: should be greater than or equal to 1, not 0",
    ]


def test_a_part_that_is_no_toml_is_told_in_the_part(path: Path) -> None:
    (path.parent / "part.toml").write_text("x = \n")
    (line,) = told(path, "include = ['part.toml']\n")
    assert line.startswith("part.toml:1:")


def test_parts_that_include_each_other_are_told_as_a_ring(path: Path) -> None:
    (path.parent / "part.toml").write_text("# x\ninclude = ['s.toml']\n")
    (line,) = told(path, "include = ['part.toml']\n")
    assert line == "part.toml:2: include: files include each other: s.toml -> part.toml -> s.toml"
    (line,) = told(path, "include = ['s.toml']\n")
    assert line == "s.toml:1: include: files include each other: s.toml -> s.toml"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("check.a.timeout=soon", '--set check.a.timeout=soon: check.a.timeout: should be a number, not "soon"'),
        ("check.a.tiemout=3", '--set check.a.tiemout=3: check.a.tiemout: is no known key; did you mean "timeout"?'),
        ("check.b.timeout=3", "--set check.b.timeout=3: check.b.use: is missing; there are: lspci, "),
        ("guest.kernel.x=3", '--set guest.kernel.x=3: guest.kernel: should be a string, not {"x": 3}'),
        ("check.a.use.x=3", "--set check.a.use.x=3: check.a.use is a value, not a table"),
        ("guest=3", "--set guest=3: guest: should be a table or"),
        ("nonsense", "--set nonsense: should be KEY=VALUE"),
        ("=3", "--set =3: should be KEY=VALUE"),
        ("a b=3", '--set a b=3: "a b" is no key'),
        ("a..b=3", '--set a..b=3: "a..b" is no key'),
        ("guest.cpus=", '--set guest.cpus=: has no value; write "" for an empty string'),
        ("guest.modules=[1,", "--set guest.modules=[1,: the value is no valid TOML"),
        ('guest.kernel="x', '--set guest.kernel="x: the value is no valid TOML'),
    ],
)
def test_a_wrong_override_is_told_with_its_text(path: Path, override: str, said: str) -> None:
    (line,) = told(path, CHECK, [override])
    assert line.startswith(said)


def test_all_wrong_overrides_are_told_at_once(path: Path) -> None:
    assert len(told(path, CHECK, ["x", "guest.cpus=", "guest.cpus=1"])) == 2
