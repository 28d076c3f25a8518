# SPDX-License-Identifier: GPL-2.0-or-later
"""Recipes of guest images: images/NAME.toml, read without anything but the standard library."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import UserMistake
from passthru.resources import directory

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Recipe:
    """What an image consists of besides the kernel's modules; paths in the image have no leading slash.

    ``files`` are paths or patterns in the packages' root, ``own`` maps files beside the recipe to paths in the image,
    ``links`` maps paths to targets, ``applets`` is a multi-call binary that gets a link for each name it knows.
    ``identity`` is the sha256 over the recipe and the files of its own.
    """

    name: str
    summary: str
    suite: str
    packages: tuple[str, ...]
    files: tuple[str, ...]
    applets: str | None
    directories: tuple[str, ...]
    links: Mapping[str, str]
    own: Mapping[str, bytes] = field(repr=False)
    identity: str


def load(name: str) -> Recipe:
    """The recipe ``name`` of this installation, or the one in the file ``name`` (ending in .toml)."""
    path = Path(name) if name.endswith(".toml") else directory("images") / f"{name}.toml"
    try:
        text = path.read_bytes()
        told = tomllib.loads(text.decode())
        own = {place: (path.parent / source).read_bytes() for source, place in told.get("own", {}).items()}
    except FileNotFoundError as error:
        known = ", ".join(sorted(recipe.stem for recipe in directory("images").glob("*.toml")))
        raise UserMistake(
            f"the image recipe {name} needs {error.filename}, which is missing; known are {known}"
        ) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserMistake(f"the image recipe {path} cannot be read: {error}") from error
    except AttributeError as error:
        raise UserMistake(f"the image recipe {path}: [own] is no table") from error
    reader = _Reader(path, told)
    identity = hashlib.sha256(text)
    for place, data in sorted(own.items()):
        identity.update(f"\0{place}\0{len(data)}\0".encode() + data)
    recipe = Recipe(
        name=path.stem,
        summary=reader.text("summary"),
        suite=reader.text("suite"),
        packages=reader.texts("packages"),
        files=reader.texts("files"),
        applets=reader.text("applets") or None,
        directories=reader.texts("directories"),
        links=reader.table("links"),
        own={_inside(place): data for place, data in own.items()},
        identity=identity.hexdigest(),
    )
    unknown = sorted(told.keys() - reader.read - {"own"})
    if unknown:
        raise UserMistake(f"the image recipe {path} has an unknown key: {unknown[0]}")
    if not recipe.suite or not recipe.packages:
        raise UserMistake(f"the image recipe {path} names no suite or no packages")
    return recipe


class _Reader:
    def __init__(self, path: Path, told: Mapping[str, object]) -> None:
        self.path = path
        self.told = told
        self.read: set[str] = set()

    def text(self, key: str) -> str:
        value = self._get(key, "")
        if not isinstance(value, str):
            raise self._wrong(key, "a string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of strings")
        return tuple(_inside(item) for item in value)

    def table(self, key: str) -> dict[str, str]:
        value = self._get(key, {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(key, "a table of strings")
        return {_inside(place): target for place, target in value.items()}

    def _get(self, key: str, default: object) -> object:
        self.read.add(key)
        return self.told.get(key, default)

    def _wrong(self, key: str, wanted: str) -> UserMistake:
        return UserMistake(f"the image recipe {self.path}: {key} is not {wanted}")


def _inside(path: str) -> str:
    clean = path.strip("/")
    if ".." in clean.split("/"):
        raise UserMistake(f"{path!r} leaves the image: write it without ..")
    return clean
