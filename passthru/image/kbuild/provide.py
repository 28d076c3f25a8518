# SPDX-License-Identifier: GPL-2.0-or-later
"""From the module names that a scenario has to modules: those that the kernel lacks are built, if there is a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.errors import MissingCapability
from passthru.image.kbuild.build import build_modules, built_files
from passthru.image.kbuild.recipe import ModuleRecipe, known, load
from passthru.image.modules import lacking, plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Entry, Store


@dataclass(frozen=True)
class Provided:
    """``names`` are to be loaded, ``built`` says which file stands for those that are not the kernel's own.

    ``missing`` says of each optional name that cannot be had why not.
    """

    names: tuple[str, ...]
    built: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    entries: tuple[Entry, ...] = ()
    missing: Mapping[str, MissingCapability] = field(default_factory=lambda: MappingProxyType({}))


def provide(
    kernel: Kernel,
    names: Sequence[str],
    store: Store,
    tell: Tell,
    *,
    optional: Sequence[str] = (),
    update: bool = False,
) -> Provided:
    """See that ``names`` can be loaded by ``kernel``; one with a slash is a directory with modules of the user's own.

    What the kernel has is never built. A name that neither the kernel nor a recipe knows is left to modules.closure(),
    which says so; an optional one is ``missing``. Raises what build_modules() raises.
    """
    recipes = {module: recipe for recipe in known() for module in recipe.promised}
    found: list[str] = []
    built: dict[str, Path] = {}
    entries: dict[str, Entry] = {}
    missing: dict[str, MissingCapability] = {}
    for name in dict.fromkeys((*names, *optional)):
        try:
            entry = _built(name, kernel, recipes, store, tell, update=update)
            if entry is None and name not in names and lacking(kernel, [name]):
                raise MissingCapability(
                    f"the module {name}", f"the kernel {kernel.source} ({kernel.release}) has no module {name}"
                )
        except MissingCapability as why:
            if name in names:
                raise
            missing[name] = why
            continue
        if entry is None:
            found.append(name)
            continue
        files = built_files(entry)
        built.update((plain_name(path.stem), path) for path in files)
        entries[entry.digest] = entry
        found += [path.stem for path in files] if "/" in name else [name]
    return Provided(tuple(found), built, tuple(entries.values()), missing)


def _built(
    name: str, kernel: Kernel, recipes: Mapping[str, ModuleRecipe], store: Store, tell: Tell, *, update: bool
) -> Entry | None:
    """The entry that holds the module ``name``; None where it is the kernel's own, or nobody's."""
    if "/" in name:
        return build_modules(load(name), kernel, store, tell, update=update)
    recipe = recipes.get(plain_name(name))
    if recipe is None or (kernel.modules is not None and not lacking(kernel, [name])):
        return None
    return build_modules(recipe, kernel, store, tell, update=update)
