# SPDX-License-Identifier: GPL-2.0-or-later
"""The device tree of a rig or a guest: QEMU's own, as dumped for the same machine, and fragments of images/trees.

Fragments are device-tree source. They name nodes of QEMU's tree by their paths (``&{/pl031@9010000}``) or by labels
that every rig's tree has (``&its``, ``&gic``, and ``&iommu`` where there is one): the numbers by which nodes refer to
each other (phandles) change with the machine's arguments and with QEMU's version. Debian's dtc puts it together.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from passthru.errors import Unusable, UserMistake
from passthru.events import Progress
from passthru.image.arch import machine_arch
from passthru.image.command import CommandFailed, run
from passthru.image.debian import packages_root
from passthru.image.kbuild.private_root import PrivateRoot, write_script
from passthru.qemu.argv import machine_words
from passthru.qemu.fragments import LABELS, Fragment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from passthru.events import Tell
    from passthru.image.store import Entry, Store
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu

RIGS, GUESTS = "the rig's", "the guest's"
_ELSE = {RIGS: "host.emulator", GUESTS: "guest.qemu"}

KIND = "device-tree"
FILE = "tree.dtb"
_BUILDER = "1"
"""To be counted up when the same inputs are to give another tree."""

_SUITE, _PACKAGE = "bookworm", "device-tree-compiler"
_SECONDS = 60.0
_DUMPED, _SOURCE = "qemu.dtb", "tree.dts"

# Where dtc says something is wrong: in the fragment of this number, in this line, and what. After "Label or path" the
# name is the whole message.
_WRONG = re.compile(r"fragment-(\d+):(\d+)\S* (?:ERROR \([a-z_]+\): )?(.*)")
_UNKNOWN = re.compile(r'Label or path (\S+) not found|non-existent (?:path|node or label) "([^"]+)"')


def device_tree(
    qemu: Qemu,
    accelerator: Accelerator,
    vm: Vm,
    fragments: Sequence[Fragment],
    store: Store,
    tell: Tell,
    *,
    whose: str = RIGS,
) -> Path:
    """The tree (a .dtb) for ``vm`` on ``qemu``, made once for the same machine and fragments; ``whose`` it is in words.

    Blocks. Raises Unusable: QEMU has no such machine, or not the nodes that the fragments name; UserMistake: what is
    wrong in a fragment of the user's own; what debian.packages_root() raises.
    """
    vm = replace(vm, ram="")  # whose file it is does not show in the tree
    words = [*accelerator.args, *(word for _ in range(1 + len(vm.serials)) for word in ("-serial", "null"))]
    texts = [(fragment, fragment.text()) for fragment in (Fragment(LABELS), *fragments)]
    compiler = _tools(store, tell)
    digest = hashlib.sha256(repr([text for _, text in texts]).encode()).hexdigest()
    key = {
        "builder": _BUILDER,
        "qemu": qemu.identity,
        "arguments": [*machine_words(vm), *words],
        "fragments": digest,
        "dtc": compiler.digest,
    }

    def build(tree: Path) -> None:
        work = f"making {whose} device tree"
        tell(Progress(work, 0, 2, "steps"))
        with store.scratch() as scratch:
            _dump(qemu, vm, words, scratch / _DUMPED, whose)
            tell(Progress(work, 1, 2, "steps"))
            dtc = write_script(scratch / "dtc", PrivateRoot(compiler.path).start(compiler.path / "usr/bin/dtc"))
            _compile(dtc, scratch, texts, tree / FILE, qemu, whose)
        tell(Progress(work, 2, 2, "steps", finished=True))

    return store.entry(KIND, key, build, tell, what=f"{whose} device tree").path / FILE


def _tools(store: Store, tell: Tell) -> Entry:
    return packages_root(_SUITE, [_PACKAGE], machine_arch(), store, tell, what="dtc of Debian")


def _dump(qemu: Qemu, vm: Vm, words: Sequence[str], place: Path, whose: str) -> None:
    """The tree that QEMU would give its kernel; QEMU writes it and exits before anything runs."""
    machine = machine_words(vm, f"dumpdtb={place.name}")
    argv = [*qemu.command, "-nodefaults", "-no-user-config", "-display", "none", *machine, *words]
    try:
        run(argv, seconds=_SECONDS, env=qemu.env, cwd=place.parent)
    except CommandFailed as failed:
        raise Unusable(
            f"{qemu.title} does not tell the device tree of its machine {vm.machine}: {failed.last_words}; name "
            f"another QEMU with --set {_ELSE[whose]}="
        ) from failed
    if not place.is_file():
        raise Unusable(f"{qemu.title} has no device tree for its machine {vm.machine}; name another QEMU")


def _compile(
    dtc: Path, scratch: Path, texts: Sequence[tuple[Fragment, str]], place: Path, qemu: Qemu, whose: str
) -> None:
    """Put it together, and small: QEMU dumps 1 MiB, of which its -dtb makes more than the 2 MiB that Linux takes."""
    source = scratch / _SOURCE
    try:
        run([dtc, "-q", "-I", "dtb", "-O", "dts", "-o", source, scratch / _DUMPED], seconds=_SECONDS)
    except CommandFailed as failed:
        raise Unusable(f"dtc cannot read the device tree of {qemu.title}: {failed.last_words}") from failed
    with source.open("a") as whole:
        for number, (_, text) in enumerate(texts):
            whole.write(f'\n# 1 "fragment-{number}"\n{text}\n')  # dtc takes the marks that a preprocessor leaves
    try:
        run([dtc, "-q", "-I", "dts", "-O", "dtb", "-o", place, source], seconds=_SECONDS)
    except CommandFailed as failed:
        raise _why_not(failed, [fragment for fragment, _ in texts], qemu, whose) from failed


def _why_not(
    failed: CommandFailed, fragments: Sequence[Fragment], qemu: Qemu, whose: str = RIGS
) -> Unusable | UserMistake:
    """What is wrong, by the first line of dtc's that tells it."""
    found = _WRONG.search(failed.stderr)
    if not found:
        return Unusable(f"{whose} device tree cannot be made of that of {qemu.title}: dtc says {failed.last_words!r}")
    fragment = fragments[int(found[1])]
    place = f"{fragment.path}:{found[2]}"
    if unknown := _UNKNOWN.search(found[3]):
        return Unusable(
            f"{place} names {unknown[1] or unknown[2]}, and the device tree of {qemu.title} has no such node for "
            f"{whose} machine; take another {_ELSE[whose]}{' or host.iommu' * (whose == RIGS)}, or leave the fragment "
            "out"
        )
    wrong = f"{place} cannot become a part of {whose} device tree: dtc says {found[3]!r}"
    return UserMistake(f"{wrong}; correct it") if fragment.own else Unusable(wrong)
