# SPDX-License-Identifier: GPL-2.0-or-later
"""Builds the modules of a recipe for a kernel, once.

What was built last for a recipe and a kernel is found by one small file, without asking for compiler or headers. The
entry itself is addressed by all that went into it: recipe, kernel, headers, compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.errors import MissingCapability, Unusable
from passthru.events import Progress
from passthru.image.command import CommandFailed, run
from passthru.image.elf import NotElf, modinfo
from passthru.image.kbuild import headers, sources, toolchain
from passthru.image.kbuild.compile import BuildFailed, build, keep_log, place_for
from passthru.image.kbuild.recipe import ModuleRecipe, load
from passthru.image.modules import any_module, plain_name
from passthru.image.tree import remove

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.kbuild.headers import Headers
    from passthru.image.kbuild.toolchain import Commands, Toolchain
    from passthru.image.kernel import Kernel
    from passthru.image.store import Entry, Store

KIND = "modules"
_BUILDER = "1"
"""To be counted up when the same inputs are to give other bytes."""


def build_modules(
    recipe: str | Path | ModuleRecipe, kernel: Kernel, store: Store, tell: Tell, *, update: bool = False
) -> Entry:
    """The modules of a recipe (its name, its directory) for ``kernel``: NAME.ko files in the entry's directory.

    ``update`` asks for the present compiler and headers. Raises MissingCapability: the kernel is none that the recipe
    is good for, or has no headers, or no compiler that fits; Unusable: they do not build, or cannot be fetched;
    UserMistake: the recipe is wrong.
    """
    chosen = recipe if isinstance(recipe, ModuleRecipe) else load(recipe)
    admit(chosen, kernel)
    words = (chosen.name, kernel.release, kernel.arch, chosen.identity, kernel.identity, headers.stamp(kernel))
    found = " ".join(filter(None, words))
    return store.resolve(KIND, found, lambda: _build(chosen, kernel, store, tell, update=update), update=update)


def built_files(entry: Entry) -> list[Path]:
    """The modules in an entry of build_modules()."""
    return [entry.path / f"{name}.ko" for name in entry.facts["modules"]]


def admit(recipe: ModuleRecipe, kernel: Kernel) -> None:
    """Raise MissingCapability for a kernel that the recipe is not for."""
    if not recipe.good_for(kernel.release):
        raise MissingCapability(
            f"a kernel {recipe.kernels}",
            f"the module {recipe.name} builds for kernels {recipe.kernels}, and {kernel.source} is {kernel.release}; "
            "take another one with --kernel",
        )
    missing = [f"CONFIG_{option}" for option in recipe.config if kernel.has(option) is False]
    if missing:
        raise MissingCapability(
            missing[0],
            f"the module {recipe.name} needs a kernel with {', '.join(missing)}, which {kernel.source} "
            f"({kernel.release}) lacks; take another one with --kernel",
        )


def _build(recipe: ModuleRecipe, kernel: Kernel, store: Store, tell: Tell, *, update: bool) -> Entry:
    tree = headers.choose(kernel, store, tell, update=update)
    tools = toolchain.choose(kernel, store, tell, update=update)
    linux = sources.of_kernel(recipe, kernel, store, tell)
    key = {
        "builder": _BUILDER,
        "recipe": recipe.identity,
        "kernel": f"{kernel.release} {kernel.identity}",
        "headers": tree.identity,
        "compiler": tools.identity,
    }
    what = f"the module {recipe.name} for {kernel.release}"

    def fill(place: Path) -> Mapping[str, object]:
        tell(Progress(f"building {what}", 0, 1, "steps"))
        with store.scratch() as scratch:
            facts = _make(recipe, {**linux, **recipe.own}, kernel, tree, tools, store, scratch, place)
        tell(Progress(f"building {what}", 1, 1, "steps", finished=True))
        return facts

    return store.entry(KIND, key, fill, tell, what=what)


def _make(
    recipe: ModuleRecipe,
    files: Mapping[str, bytes],
    kernel: Kernel,
    tree: Headers,
    tools: Toolchain,
    store: Store,
    scratch: Path,
    to: Path,
) -> dict[str, object]:
    work = place_for(scratch)
    try:
        source = work / "module"
        for path, data in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_bytes(data)
        commands = tools.lay_out(work)
        log = work / "log"
        hidden = {source: ".", work: "build", store.root: "cache"}
        try:
            build(tree.lay_out(work), source, commands, recipe.make, kernel.arch, log, hidden)
        except BuildFailed as failed:
            kept = keep_log(log, f"{recipe.name}-{kernel.release}", store, {source: recipe.home})
            raise Unusable(_sentence(failed, recipe, kernel, source, kept)) from failed
        found = _collect(recipe, kernel, source, commands, to)
    finally:
        remove(work)
    return {"modules": found, "recipe": recipe.name, "headers": tree.told, "compiler": tools.told}


def _sentence(failed: BuildFailed, recipe: ModuleRecipe, kernel: Kernel, source: Path, log: Path) -> str:
    """What a person reads: the file as they know it, not its copy."""
    begin = f"the module {recipe.name} does not build for the kernel {kernel.source} ({kernel.release}): "
    end = f"; the whole log is {log}"
    text = failed.text.replace(f"{source}/", "")
    if not failed.file:
        return f"{begin}{text}{end}"
    path = (source / failed.file).resolve()
    inside = path.relative_to(source) if path.is_relative_to(source) else None
    if inside is None:
        shown = failed.file
    elif str(inside) in recipe.own:
        shown = str(recipe.home / inside)
    else:
        shown = f"{recipe.linux_from}/{inside} of the kernel's source".lstrip("/")
        return f"{begin}{shown}, line {failed.line}: {text}{end}"
    return f"{begin}{shown}:{failed.line}: {text}{end}"


def _collect(recipe: ModuleRecipe, kernel: Kernel, source: Path, commands: Commands, to: Path) -> list[str]:
    """The modules, without debug information (it is larger than they, and guests load them into RAM), each checked."""
    made = {plain_name(path.stem): path for path in sorted(source.rglob("*.ko"))}
    missing = [name for name in recipe.promised if name not in made]
    if missing or not made:
        came = ", ".join(made) or "none"
        raise Unusable(
            f"the build of {recipe.home} made no module {', '.join(missing) or 'at all'} (but {came}); correct its "
            "Kbuild"
        )
    wanted = recipe.promised or sorted(made)
    for name in wanted:
        path = to / f"{name}.ko"
        try:
            run([commands.variables["STRIP"], "--strip-debug", "-o", path, made[name]], seconds=60.0)
        except CommandFailed as failed:
            raise Unusable(f"the module {name} cannot be stripped: {failed.last_words}; this is a bug") from failed
        _demand_magic(name, path.read_bytes(), kernel)
    return list(wanted)


def _demand_magic(name: str, data: bytes, kernel: Kernel) -> None:
    """The kernel loads a module only if its vermagic is the kernel's own (kernel/module/main.c, same_magic)."""
    told = _magic(data, name)
    if told.split(" ", 1)[0] != kernel.release:
        raise Unusable(
            f"the module {name} was built for {told.split(' ', 1)[0]}, not for the kernel {kernel.release}; the build "
            "tree was changed after the kernel was built: build that anew"
        )
    stock = any_module(kernel)
    if stock is not None and _magic(stock, "a stock module") != told:
        raise Unusable(
            f"the module {name} has the vermagic {told!r}, and the kernel's own modules have "
            f"{_magic(stock, 'a stock module')!r}; the build tree was changed after the kernel was built: build it anew"
        )


def _magic(data: bytes, name: str) -> str:
    try:
        return modinfo(data).get("vermagic", [""])[0].strip()
    except NotElf as error:
        raise Unusable(f"the module {name} is no kernel module: {error}; build or fetch the kernel anew") from error
