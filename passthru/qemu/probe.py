# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking a program over QMP what it can do, as a QEMU with no machine at all; works from QEMU 5 on.

The program runs under a worker of its own, so that nothing of it outlives passthru, whatever it is. Commands: QEMU's
qapi/machine.json, qapi/qom.json.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from passthru.blocking import run_blocking
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble, PassthruError, Unusable
from passthru.host import ChildSpec, open_local_host
from passthru.host.output import Output
from passthru.qemu import answers
from passthru.qemu.binary import Capabilities, Qemu
from passthru.qemu.processor import SLOWER, emulated
from passthru.qemu.qmp import QmpRefused, connected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.host import Child, Host
    from passthru.image.store import Store
    from passthru.qemu.binary import Candidate
    from passthru.qemu.qmp import Qmp

PROBE_SECONDS = 15.0
ADVICE = "name a qemu-system program with --qemu PATH, or let passthru fetch one with --qemu debian:sid"

# A machine of type none needs no accelerator, but a QEMU built without TCG starts with no other default.
_ARGUMENTS = (
    *("-machine", "none,accel=tcg:kvm:xen", "-nodefaults", "-no-user-config", "-S", "-display", "none"),
    *("-chardev", "socket,id=qmp,fd={stream:qmp}", "-qmp", "chardev:qmp"),
)


def ask_all(
    candidates: Sequence[Candidate], store: Store, *, seconds: float = PROBE_SECONDS
) -> list[Qemu | PassthruError]:
    """What each candidate is: a Qemu, or the error that tells in one sentence why it is none.

    Answers come from the cache where the program's identity is known there. Blocks; not for a running event loop.
    """
    found: dict[str, Qemu | PassthruError] = {}
    for candidate in candidates:
        remembered = recalled(candidate, store)
        if remembered:
            found[candidate.identity] = remembered
    strangers = [candidate for candidate in candidates if candidate.identity not in found]
    if strangers:
        asked = run_blocking(_ask_each(strangers, seconds))
        for candidate, answer in zip(strangers, asked, strict=True):
            found[candidate.identity] = answer
            if isinstance(answer, Qemu):
                remember(candidate, answer, store)
    return [found[candidate.identity] for candidate in candidates]


def ask(candidate: Candidate, store: Store, *, seconds: float = PROBE_SECONDS) -> Qemu:
    """What one candidate is. Raises Unusable when it is no QEMU."""
    (answer,) = ask_all([candidate], store, seconds=seconds)
    if isinstance(answer, PassthruError):
        raise answer
    return answer


def recalled(candidate: Candidate, store: Store) -> Qemu | None:
    """What the candidate answered once, if that is in the cache."""
    known = answers.recall(store, _about(candidate))
    if known is None:
        return None
    try:
        return Qemu.of(candidate, Capabilities.from_json(known))
    except (KeyError, TypeError):
        return None


def remember(candidate: Candidate, answer: Capabilities, store: Store) -> None:
    """Keep in the cache what the candidate answered."""
    answers.keep(store, _about(candidate), answer.as_json())


def _about(candidate: Candidate) -> dict[str, str]:
    return {"question": "qemu-capabilities", "qemu": candidate.identity}


async def _ask_each(candidates: Sequence[Candidate], seconds: float) -> list[Qemu | PassthruError]:
    found: list[Qemu | PassthruError] = []
    scale = SLOWER if emulated() else 1.0
    async with open_local_host(deadline=Deadline.after(None)) as host:
        for candidate in candidates:
            try:
                found.append(Qemu.of(candidate, await _ask(host, candidate, Deadline.after(seconds, scale=scale))))
            except Unusable as error:
                found.append(error)
    return found


async def _ask(host: Host, candidate: Candidate, deadline: Deadline) -> Capabilities:
    with Output() as output:
        spec = ChildSpec("QEMU", (*candidate.command, *_ARGUMENTS), candidate.env, streams=("qmp",), output=output.path)
        try:
            child = await host.start(spec)
        except Unusable as error:
            raise Unusable(f"{error}; {ADVICE}") from error
        try:
            async with connected(child.streams["qmp"], name=candidate.source, deadline=deadline) as qmp:
                return await _interview(qmp)
        except DeadlineExceeded as error:
            raise Unusable(
                f"{candidate.source} is no QEMU, or one that hangs: it did not answer over QMP within "
                f"{error.seconds:.1f} s; {ADVICE}"
            ) from error
        except (GuestTrouble, QmpRefused, KeyError, TypeError) as error:
            said = await _how_it_ended(child, output)
            raise Unusable(
                f"{candidate.source} is no usable QEMU: asked over QMP what it can do, it {said}; {ADVICE}"
            ) from error
        finally:
            with contextlib.suppress(PassthruError):  # if the worker has gone, so has the child
                await child.kill()


async def _interview(qmp: Qmp) -> Capabilities:
    version = await qmp.execute("query-version")
    number = version["qemu"]
    machines = await qmp.execute("query-machines")
    return Capabilities(
        version=f"{number['major']}.{number['minor']}.{number['micro']}",
        package=str(version.get("package", "")).strip(" ()"),
        arch=(await qmp.execute("query-target"))["arch"],
        devices=frozenset(await _types(qmp, "device")),
        machines=frozenset(name for machine in machines for name in _names(machine)),
        accelerators=frozenset(
            name.removesuffix("-accel") for name in await _types(qmp, "accel") if name.endswith("-accel")
        ),
    )


async def _types(qmp: Qmp, kind: str) -> list[str]:
    """Names of the concrete types of a kind; QEMU loads its modules to tell them."""
    types = await qmp.execute("qom-list-types", {"implements": kind, "abstract": False})
    return [entry["name"] for entry in types]


def _names(machine: Mapping[str, str]) -> list[str]:
    return [machine[key] for key in ("name", "alias") if key in machine]


async def _how_it_ended(child: Child, output: Output) -> str:
    """What a program did that is no QEMU: how it exited, if it did, and the last that it said."""
    ended = "spoke no QMP"
    with contextlib.suppress(PassthruError):
        ended = str(await child.wait(Deadline.after(0.5)))
    words = output.last_line()
    return f"{ended} and said: {words}" if words else ended
