# SPDX-License-Identifier: GPL-2.0-or-later
"""Which QEMU runs the guest: the one that the user named, or the first that can do what the scenario needs.

`auto` looks on PATH, then among those fetched before, and fetches one from Debian where none will do. What counts is
what the program answers, not its version: distributions leave devices out, and add them.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import PassthruError, Unusable
from passthru.events import Note, Tell
from passthru.image.arch import machine_arch
from passthru.qemu import debian, elsewhere, identity, probe
from passthru.qemu.binary import Candidate, Qemu

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from passthru.image.store import Store

AUTO = elsewhere.AUTO
_PREFIX = "qemu-system-"


@dataclass(frozen=True)
class Found:
    """One line of `passthru qemu list`: a QEMU, or why what looks like one is none."""

    source: str
    qemu: Qemu | None
    trouble: str = ""


def find(
    spec: str,
    needs: Collection[str],
    store: Store,
    tell: Tell,
    *,
    arch: str = "x86_64",
    on: str = "",
    update: bool = False,
    option: str = "--qemu ",
) -> Qemu:
    """The QEMU to use: ``spec`` is ``auto``, a program's path or name, or ``debian:SUITE``.

    ``needs`` are the devices it must have (vfio-user-pci), ``arch`` is what it must emulate. ``on`` is the architecture
    (Debian's word) of the rig that it is to run in, by default this machine's. A hit in the cache opens no connection;
    ``update`` asks a named suite for its present version. ``option`` is what the user writes before ``spec``, for
    advice. Blocks: call it in a thread of its own. Raises Unusable: it is none, lacks a device, or cannot be fetched.
    """
    if on not in ("", machine_arch()):
        return _elsewhere(spec, needs, store, tell, arch, on, update, option)
    if spec == AUTO:
        return _auto(needs, store, tell, arch, option)
    if spec.startswith(debian.SCHEME):
        candidate = debian.fetched(spec.removeprefix(debian.SCHEME), arch, store, tell, update=update)
    else:
        candidate = _named(spec)
    return _checked(probe.ask(candidate, store), needs, arch, option)


def pinned(pin: Mapping[str, Any], store: Store, tell: Tell, *, arch: str = "x86_64") -> Qemu:
    """The QEMU that ``Qemu.pin`` named. Raises Unusable when it is here no more, or is another one by now."""
    if pin.get("runs_on"):
        return elsewhere.pinned(pin, store, tell, arch=arch)
    root = pin.get("root")
    if root:
        return probe.ask(debian.pinned(str(pin["source"]), arch, root, store, tell), store)
    qemu = probe.ask(_named(str(pin["source"])), store)
    if qemu.version != pin["version"]:
        raise Unusable(
            f"{qemu.source} is QEMU {qemu.version} by now, and the run to be repeated used {pin['version']}; name "
            "another one with --qemu"
        )
    return qemu


def list_all(store: Store, *, arch: str | None = None) -> list[Found]:
    """Every qemu-system-ARCH on PATH, and those fetched before; of one architecture if given. Opens no connection."""
    candidates = [*_on_path(arch), *debian.in_cache(store, arch)]
    found = zip(candidates, probe.ask_all(candidates, store), strict=True)
    return [
        Found(candidate.source, answer) if isinstance(answer, Qemu) else Found(candidate.source, None, str(answer))
        for candidate, answer in found
    ]


def known(store: Store, arch: str, *, on: str = "") -> list[Qemu]:
    """The QEMUs for ``arch`` that are here, to run on this machine or in a rig of ``on`` (as for find()).

    Opens no connection.
    """
    if on in ("", machine_arch()):
        return [found.qemu for found in list_all(store, arch=arch) if found.qemu]
    recalled = (probe.recalled(candidate, store) for candidate in debian.in_cache(store, arch, on=on))
    return [qemu for qemu in recalled if qemu]


def _auto(needs: Collection[str], store: Store, tell: Tell, arch: str, option: str) -> Qemu:
    why_not: list[str] = []
    for candidate in _on_path(arch):
        qemu = _if_fit(candidate, needs, arch, store, why_not)
        if qemu:
            return qemu
    for reason in why_not:
        tell(Note(f"not using {reason}"))
    for candidate in debian.in_cache(store, arch):
        qemu = _if_fit(candidate, needs, arch, store, why_not)
        if qemu:
            return qemu
    return _fetch(needs, store, tell, arch, why_not, option)


def _elsewhere(
    spec: str, needs: Collection[str], store: Store, tell: Tell, arch: str, on: str, update: bool, option: str
) -> Qemu:
    why_not: list[str] = []
    for candidate in elsewhere.candidates(spec, needs, store, tell, arch=arch, on=on, update=update, option=option):
        try:
            qemu = elsewhere.ask(candidate, arch, store, tell)
        except Unusable as error:
            if spec != AUTO:
                raise
            why_not.append(str(error))
            continue
        if spec != AUTO:
            return _checked(qemu, needs, arch, option)
        lacks = _lacks(qemu, needs, arch)
        if not lacks:
            return qemu
        why_not.append(f"{qemu.title}: it {lacks}")
    raise _none_has(needs, why_not, "take a scenario that needs less")


def _none_has(needs: Collection[str], why_not: Sequence[str], advice: str) -> Unusable:
    return Unusable(f"no QEMU has {_and(needs)}: {'; '.join(dict.fromkeys(why_not))}; {advice}")


def _fetch(needs: Collection[str], store: Store, tell: Tell, arch: str, why_not: list[str], option: str) -> Qemu:
    trouble: PassthruError | None = None
    for suite in debian.suites_for(needs):
        try:
            candidate = debian.fetched(suite, arch, store, tell)
        except Unusable as error:
            # A mirror may lack one suite. But where a second one fails too, or the disk is full, the rest will as well.
            if trouble or isinstance(error.__cause__, OSError):
                raise trouble or error from None
            trouble = error
            continue
        qemu = _if_fit(candidate, needs, arch, store, why_not)
        if qemu:
            return qemu
    if trouble:
        raise trouble
    raise _none_has(needs, why_not, f"build one, and name it with {option}PATH")


def _if_fit(candidate: Candidate, needs: Collection[str], arch: str, store: Store, why_not: list[str]) -> Qemu | None:
    try:
        qemu = probe.ask(candidate, store)
    except Unusable as error:
        why_not.append(f"{candidate.source}: {error}")
        return None
    lacks = _lacks(qemu, needs, arch)
    if lacks:
        why_not.append(f"{qemu.title}: it {lacks}")
        return None
    return qemu


def _checked(qemu: Qemu, needs: Collection[str], arch: str, option: str) -> Qemu:
    lacks = _lacks(qemu, needs, arch)
    if lacks:
        suites = debian.suites_for(needs)
        raise Unusable(
            f"{qemu.title} cannot run this scenario, since it {lacks}; use {option}{debian.SCHEME}{suites[-1]}, or "
            f"leave {option.rstrip(' =')} out and passthru finds one that can"
        )
    return qemu


def _lacks(qemu: Qemu, needs: Collection[str], arch: str) -> str:
    if qemu.arch != arch:
        return f"emulates {qemu.arch} and not {arch}"
    missing = qemu.missing(needs)
    return f"has no {_and(missing)}" if missing else ""


def _named(spec: str) -> Candidate:
    where = spec if "/" in spec else shutil.which(spec)
    if where is None:
        raise Unusable(f"there is no program {spec} on PATH; {probe.ADVICE}")
    path = Path(where).expanduser()
    try:
        return Candidate(str(path), (str(path.absolute()),), identity.of_file(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise Unusable(f"{path} cannot be used as QEMU: {why}; {probe.ADVICE}") from error


def _on_path(arch: str | None) -> list[Candidate]:
    """Each qemu-system-ARCH of each directory of PATH, in PATH's order; links to one program count once."""
    found: dict[str, Candidate] = {}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for path in _programs(Path(folder or os.curdir), arch):
            try:
                candidate = Candidate(str(path), (str(path.absolute()),), identity.of_file(path))
            except OSError:
                continue  # it went away just now
            found.setdefault(candidate.identity, candidate)
    return list(found.values())


def _programs(folder: Path, arch: str | None) -> Sequence[Path]:
    try:
        paths = [folder / f"{_PREFIX}{arch}"] if arch else sorted(folder.glob(f"{_PREFIX}*"))
        return [path for path in paths if path.is_file() and os.access(path, os.X_OK)]
    except OSError:  # a folder that may not be searched
        return []


def _and(names: Collection[str]) -> str:
    return " and no ".join(sorted(names)) if names else "what is needed"
