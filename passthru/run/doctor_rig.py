# SPDX-License-Identifier: GPL-2.0-or-later
"""What the emulated host of a scenario takes: its image and its modules. Its kernel and QEMUs are doctor.py's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.image.kbuild.build import KIND, admit
from passthru.image.kbuild.recipe import known
from passthru.image.kbuild.recipe import load as load_module
from passthru.image.modules import lacking, plain_name
from passthru.image.recipe import load
from passthru.image.upkeep import usage
from passthru.run.diagnosis import Diagnosis, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from passthru.scenario.hosts import RigHost

RECIPE = "rig"


def examine_rig(store: Store, host: RigHost, kernel: Kernel | None) -> Iterator[Diagnosis]:
    """The image and the modules of a rig; ``kernel`` is None where it is not here yet."""
    yield _image(store, host.arch)
    for name in host.modules:
        if not ("/" in name and any(Path(name).glob("*.ko"))):
            yield _module(store, name, kernel)


def _image(store: Store, arch: str) -> Diagnosis:
    recipe = load(RECIPE)
    parts = {recipe.suite, arch, *recipe.packages}
    if any(parts <= set(alias["name"].split()) for alias in store.aliases()):
        return Diagnosis("rig", State.READY, f"its packages are here: {recipe.summary}")
    remedy = "the first run fetches them (20 MB) and builds the image; `passthru fetch` does so now"
    return Diagnosis("rig", State.LATER, f"not fetched yet: {recipe.summary}", remedy)


def _module(store: Store, name: str, kernel: Kernel | None) -> Diagnosis:
    what = f"module {name}"
    recipes = {module: recipe for recipe in known() for module in recipe.promised}
    try:
        recipe = load_module(name) if "/" in name else recipes.get(plain_name(name))
        if recipe is None and "/" not in name and kernel and lacking(kernel, [name]):
            remedy = (
                f"name another kernel, or a directory with its source; passthru builds {', '.join(sorted(recipes))}"
            )
            return Diagnosis(what, State.MISSING, f"the rig's kernel {kernel.release} has no module {name}", remedy)
        if kernel is None:
            return Diagnosis(what, State.LATER, "it is looked for once the rig's kernel is here")
        if recipe is None or ("/" not in name and kernel.modules is not None and not lacking(kernel, [name])):
            return Diagnosis(what, State.READY, f"of {kernel.release} itself")
        admit(recipe, kernel)
    except PassthruError as error:
        return Diagnosis(what, State.MISSING, str(error))
    key = {"recipe": recipe.identity, "kernel": f"{kernel.release} {kernel.identity}"}
    if any(entry.kind == KIND and key.items() <= entry.key.items() for entry in usage(store)):
        return Diagnosis(what, State.READY, f"built for {kernel.release}")
    remedy = "the first run fetches the kernel's headers and builds it, in a minute; `passthru fetch` does so now"
    return Diagnosis(what, State.LATER, f"not built for {kernel.release} yet", remedy)
