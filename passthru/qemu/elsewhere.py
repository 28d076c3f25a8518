# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMUs that run in a rig of another architecture. This machine cannot start them, so it asks their twins.

Debian builds one source for all architectures: what a QEMU emulates, its devices and its machines are the same in each
build. Only that of the architecture which is emulated has KVM (QEMU's meson.build, accelerator_targets).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from passthru.errors import PassthruError, Unusable
from passthru.events import Note
from passthru.image.arch import ARCHES
from passthru.qemu import debian, probe
from passthru.qemu.binary import Candidate, Capabilities, Qemu

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from passthru.events import Tell
    from passthru.image.store import Store

AUTO = "auto"


def candidates(
    spec: str, needs: Collection[str], store: Store, tell: Tell, *, arch: str, on: str, update: bool, option: str
) -> Iterator[Candidate]:
    """The QEMUs that ``spec`` may mean, for machines of the architecture ``on``: those in the cache first.

    Raises Unusable: ``spec`` is a program, which would be one of this machine; what cannot be fetched.
    """
    if spec.startswith(debian.SCHEME):
        yield debian.fetched(spec.removeprefix(debian.SCHEME), arch, store, tell, on=on, update=update)
        return
    if spec != AUTO:
        raise Unusable(
            f"{spec} is a program of this machine, and the guest runs in a rig of {on}; name debian:SUITE with "
            f"{option.rstrip(' =')}, or leave that out and passthru finds one for the rig"
        )
    yield from debian.in_cache(store, arch, on=on)
    trouble: PassthruError | None = None
    for suite in debian.suites_for(needs):
        try:
            yield debian.fetched(suite, arch, store, tell, on=on)
        except Unusable as error:
            # A mirror may lack one suite. But where a second one fails too, or the disk is full, the rest will as well.
            if trouble or isinstance(error.__cause__, OSError):
                raise trouble or error from None
            trouble = error
    if trouble:
        raise trouble


def ask(candidate: Candidate, arch: str, store: Store, tell: Tell) -> Qemu:
    """What the candidate is, by what its twin for this machine answers. Raises Unusable."""
    known = probe.recalled(candidate, store)
    if known:
        return known
    twin = _twin(candidate, arch, store, tell)
    answer = _as_built_for(candidate.runs_on, arch, probe.ask(twin, store))
    probe.remember(candidate, answer, store)
    return Qemu.of(candidate, answer)


def twin_of(qemu: Qemu, store: Store, tell: Tell) -> Qemu:
    """The same QEMU, to be started on this machine: what it says of a machine holds for both. Raises Unusable."""
    if not qemu.runs_on:
        return qemu
    candidate = Candidate(**{name: getattr(qemu, name) for name in Candidate.__dataclass_fields__})
    return probe.ask(_twin(candidate, qemu.arch, store, tell), store)


def _twin(candidate: Candidate, arch: str, store: Store, tell: Tell) -> Candidate:
    suite = candidate.source.removeprefix(debian.SCHEME)
    twin = debian.fetched(suite, arch, store, tell)
    if debian.source_version(twin, arch) != debian.source_version(candidate, arch):
        tell(Note(f"the QEMU of {candidate.source} for {candidate.runs_on} is of another version than the one here"))
        twin = debian.fetched(suite, arch, store, tell, update=True)
    if debian.source_version(twin, arch) != debian.source_version(candidate, arch):
        raise Unusable(
            f"the QEMU of {candidate.source} is {debian.source_version(candidate, arch)} for {candidate.runs_on} and "
            f"{debian.source_version(twin, arch)} for this machine, so nobody here can tell what the first can do; get "
            "the present one with `passthru fetch --update`"
        )
    return twin


def pinned(pin: Mapping[str, Any], store: Store, tell: Tell, *, arch: str) -> Qemu:
    """The QEMU that ``Qemu.pin`` named, with what it answered then."""
    on = str(pin["runs_on"])
    candidate = debian.pinned(str(pin["source"]), arch, pin["root"], store, tell, on=on)
    return Qemu.of(candidate, Capabilities.from_json(pin["answers"]))


def _as_built_for(on: str, arch: str, twin: Capabilities) -> Capabilities:
    accelerators = twin.accelerators - {"kvm"} | ({"kvm"} if ARCHES[on].machine == arch else set())
    own = {name: getattr(twin, name) for name in Capabilities.__dataclass_fields__}
    return replace(Capabilities(**own), accelerators=frozenset(accelerators))
