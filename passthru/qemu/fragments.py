# SPDX-License-Identifier: GPL-2.0-or-later
"""Fragments of device trees: pieces of device-tree source that are added to QEMU's own tree (see ``device_tree``)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.resources import directory

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = "labels"
"""The fragment that every rig's tree has."""

_SUFFIX = ".dtsi"
# A node, not only a label for one.
_NODE = re.compile(r"^(?:&|/ \{)", re.MULTILINE)


@dataclass(frozen=True)
class Fragment:
    """A piece of a tree: a file of images/trees by its name, or one of the user's own by its path (with a slash)."""

    name: str
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What stands for ``$word`` in it; without any it is taken as it is."""

    @property
    def own(self) -> bool:
        """Whether it is the user's."""
        return "/" in self.name

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name) if self.own else directory("images") / "trees" / f"{self.name}{_SUFFIX}"

    def text(self) -> str:
        """Its source with its values. Raises UserMistake where there is none, or with a value that nobody gives."""
        source = self.source()
        try:
            return Template(source).substitute(self.values) if self.values else source
        except (KeyError, ValueError) as error:
            given = ", ".join(f"${name}" for name in self.values)
            what = f"${error.args[0]}" if isinstance(error, KeyError) else f"a $ that is none ({error})"
            raise UserMistake(
                f"the device-tree fragment {self.path} has {what}; what stands for something is {given}"
            ) from error

    def source(self) -> str:
        """Its source as it is written. Raises UserMistake where there is none."""
        try:
            return self.path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise UserMistake(
                f"the device-tree fragment {self.path} cannot be read: {why}; name another one"
            ) from error


def known_fragments() -> tuple[str, ...]:
    """The names of those fragments of images/trees that a scenario may name; the others are for passthru to add."""
    found = (directory("images") / "trees").glob(f"*{_SUFFIX}")
    return tuple(sorted(path.stem for path in found if _NODE.search(text := path.read_text()) and "$" not in text))
