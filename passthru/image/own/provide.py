# SPDX-License-Identifier: GPL-2.0-or-later
"""The own kernel out of the cache, or built into it.

An entry is addressed by the version of the source, every option and the compiler, all of which a lock file keeps: from
these it is built again, byte for byte.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from passthru.errors import Unusable
from passthru.events import Note
from passthru.image.arch import machine_arch
from passthru.image.debian import packages_root, pins_of
from passthru.image.kbuild.compile import place_for
from passthru.image.kconfig import parse_config
from passthru.image.own.build import Build, jobs
from passthru.image.own.recipe import config_lines, load
from passthru.image.tree import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.own.recipe import OwnRecipe
    from passthru.image.store import Entry, Key, Store

KIND = "own-kernel"
BUILD_BYTES = 1_500_000_000
"""What a build takes in the cache: source, tools, and what is made, most of which is removed afterwards."""
_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""


def own_kernel(
    arch: str, store: Store, tell: Tell, *, pin: Mapping[str, Any] | None = None, update: bool = False
) -> Entry:
    """The kernel of images/kernel/ARCH.toml; ``pin`` demands the one of a lock file, ``update`` the present source.

    Built where it is not in the cache. Raises Unusable: no recipe for ``arch``, nothing to be fetched, an option that
    does not come out as the recipe sets it, a build that fails, a pinned one that cannot be built again; UserMistake: a
    recipe that is wrong.
    """
    if pin is not None:
        return store.pinned(pin) or _again(arch, pin, store, tell)
    recipe = load(arch)
    return store.resolve(KIND, _name(recipe), lambda: _present(recipe, store, tell, update=update), update=update)


def built(arch: str, store: Store) -> Entry | None:
    """The own kernel if it is in the cache; see own_kernel() for what is raised."""
    return store.aliased(KIND, _name(load(arch)))


def minutes(arch: str) -> int:
    """How long a build takes on this machine, about; see own_kernel() for what is raised."""
    return max(1, round(load(arch).seconds / jobs() / 60))


def _name(recipe: OwnRecipe) -> str:
    return f"{recipe.arch} {recipe.identity}"


def _present(recipe: OwnRecipe, store: Store, tell: Tell, *, update: bool) -> Entry:
    only = rf"{re.escape(recipe.package)}-.+"
    what = "the source of the own kernel"
    source = packages_root(
        recipe.suite, [recipe.package], machine_arch(), store, tell, only=only, what=what, update=update
    )
    exact = [f"{name}={version}" for name, version in pins_of(source).items()]
    return _entry(recipe, exact, recipe.config, store, tell, update=update)


def _again(arch: str, pin: Mapping[str, Any], store: Store, tell: Tell) -> Entry:
    """What a lock file names, built anew: same source and options, though the recipe may be another one by now."""
    key = pin["key"]
    options = parse_config("\n".join(key["config"]).encode())
    made = _entry(load(arch), key["source"], options, store, tell, update=False)
    if made.digest != pin["digest"]:
        raise Unusable(
            f"the own kernel of the lock file was built with {', '.join(key['compiler'])}, and what is to be had is "
            f"{', '.join(made.key['compiler'])}; bring that kernel from a cache that has it with `passthru cache "
            "export` and `passthru cache import`, or run without the lock"
        )
    return made


def _entry(
    recipe: OwnRecipe, source: list[str], config: Mapping[str, str], store: Store, tell: Tell, *, update: bool
) -> Entry:
    if machine_arch() != recipe.arch:
        raise Unusable(
            f"the own kernel for {recipe.arch} is built on {recipe.arch} machines, and this is {machine_arch()}; bring "
            "it from the cache of one with `passthru cache export` and `passthru cache import`"
        )
    what = "the tools for the own kernel"
    tools = packages_root(recipe.tools_suite, recipe.tools, machine_arch(), store, tell, what=what, update=update)
    versions = pins_of(tools)
    compiler = [f"{name}={versions[name]}" for name in (f"gcc-{recipe.gcc}", "binutils")]
    lines = config_lines(config)
    key: Key = {"builder": _BUILDER, "arch": recipe.arch, "source": source, "compiler": compiler, "config": lines}

    def fill(tree: Path) -> Mapping[str, object]:
        tell(
            Note(
                f"the own kernel is not in the cache yet: it is built once, in about {minutes(recipe.arch)} minutes on "
                f"{jobs()} processors"
            )
        )
        pins = dict(item.split("=", 1) for item in source)
        root = packages_root(
            recipe.suite, list(pins), machine_arch(), store, tell, pins=pins, what="the source of the own kernel"
        )
        with store.scratch() as scratch:
            work = place_for(scratch)
            try:
                return Build(recipe, config, root, tools, work, store, tell).into(tree)
            finally:
                remove(work)

    return store.entry(KIND, key, fill, tell, what="the own kernel")
