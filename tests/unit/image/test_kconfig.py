# SPDX-License-Identifier: GPL-2.0-or-later
"""What a .config sets, and what a fragment demands of one."""

from __future__ import annotations

import pytest

from passthru.errors import UserMistake
from passthru.image.kconfig import parse_config, read_fragment, unmet


def test_a_configuration_s_lines() -> None:
    """Only what is set counts."""
    assert parse_config(b"CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\nXCONFIG_D=y\n") == {"A": "y", "C": ""}


def test_a_fragment_s_lines() -> None:
    """Comments and empty lines apart, each sets one option."""
    lines = ["# why", "", "CONFIG_A=y", ' CONFIG_B="-made" ', "CONFIG_C=-1", "CONFIG_D=0x10", "CONFIG_E=n"]
    assert read_fragment(lines, "here") == {"A": "y", "B": '"-made"', "C": "-1", "D": "0x10", "E": "n"}


@pytest.mark.parametrize("line", ["A=y", "CONFIG_A", "CONFIG_A = y", "CONFIG_A=yes", "CONFIG_A=", 'CONFIG_A="x'])
def test_a_line_that_sets_no_option(line: str) -> None:
    """Where it is, and how it would be written."""
    with pytest.raises(UserMistake, match=r"^images/x\.config:2: .* sets no option; write it as CONFIG_PCI=y$"):
        read_fragment(["CONFIG_PCI=y", line], "images/x.config")


def test_an_option_that_is_set_twice() -> None:
    """Which of the two would hold is nothing to be guessed."""
    with pytest.raises(UserMistake, match="x:2: CONFIG_A was set above"):
        read_fragment(["CONFIG_A=y", "CONFIG_A=m"], "x")


def test_what_a_configuration_has_otherwise() -> None:
    """Each option that differs is named with both values; one that is to be off may be missing."""
    fragment = {"A": "y", "B": "m", "C": "n", "D": "n", "E": '"x"', "F": "4", "G": "y"}
    config = {"A": "y", "B": "y", "D": "m", "E": '"x"', "F": "8"}
    assert unmet({"OLD": "y"}, {"NEW": "y"}, {"OLD": "NEW"}) == []
    assert unmet({"OLD": "y"}, {"NEW": "m"}, {"OLD": "NEW"}) == ["CONFIG_OLD=y (it is not set)"]
    assert unmet(fragment, config) == [
        "CONFIG_B=m (it is y)",
        "CONFIG_D=n (it is m)",
        "CONFIG_F=4 (it is 8)",
        "CONFIG_G=y (it is not set)",
    ]
