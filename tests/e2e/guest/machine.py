# SPDX-License-Identifier: GPL-2.0-or-later
"""A real guest for the tests of passthru.guest. Everything that is particular to how it comes about is here."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import Event, tell_nobody
from passthru.guest.guest import Guest, Silence, Streams, guest_over
from passthru.host import ChildSpec, open_local_host
from passthru.image.guest import floor_image, guest_image
from passthru.image.kernel import resolve
from passthru.image.store import Store
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu.argv import AGENT, SERIAL, SHELL, Vm, command_line, guest_argv, streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from passthru.host import Child
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.binary import Qemu

LONGEST = 90.0
"""Seconds, before scaling, that a test may take with its guest."""


@dataclass(frozen=True)
class Parts:
    """What guests are made of: ``shared_image`` has no virtio drivers, so that its agent shares ttyS0."""

    qemu: Qemu
    accelerator: Accelerator
    kernel: Path
    image: Path
    shared_image: Path


@dataclass(frozen=True)
class Booted:
    """A guest that is up, its QEMU, and what was told."""

    guest: Guest
    qemu: Child
    told: list[Event] = field(default_factory=list)


def find_parts() -> Parts:
    """What the cache has, or Debian."""
    store = Store()
    kernel = resolve("debian:bookworm/cloud", store, tell_nobody)
    qemu = qemus.find("auto", ("vfio-user-pci",), store, tell_nobody)
    chosen = accelerators.choose("auto", qemu, kernel, lambda: floor_image(store, tell_nobody), store, tell_nobody)
    image = guest_image("guest", kernel, ("virtio_pci", "virtio_console"), store, tell_nobody)
    return Parts(qemu, chosen, kernel.image, image, guest_image("guest", kernel, (), store, tell_nobody))


@contextlib.asynccontextmanager
async def started(
    parts: Parts,
    *words: str,
    shared: bool = False,
    directory: Path | None = None,
    quirks: Sequence[str] = (),
    silence: Silence | None = None,
) -> AsyncIterator[Booted]:
    """A guest that has just been started; ``words`` go to its kernel's command line."""
    image = parts.shared_image if shared else parts.image
    vm = Vm(parts.kernel, image, command_line(*parts.accelerator.kernel_words, *words))
    deadline = Deadline.after(LONGEST, scale=parts.accelerator.scale)
    told: list[Event] = []
    spec = ChildSpec("qemu", guest_argv(parts.qemu, parts.accelerator, vm), parts.qemu.env, streams=streams(vm))
    async with open_local_host(deadline=deadline) as host:
        qemu = await host.start(spec)
        ends = Streams(qemu.streams[SERIAL], qemu.streams[AGENT], qemu.streams[SHELL])
        talk = guest_over(
            ends, deadline=deadline, tell=told.append, directory=directory, quirks=quirks, silence=silence
        )
        async with talk as guest:
            yield Booted(guest, qemu, told)


@contextlib.asynccontextmanager
async def booted(
    parts: Parts, *words: str, shared: bool = False, directory: Path | None = None
) -> AsyncIterator[Booted]:
    """A guest whose shell can be used."""
    async with started(parts, *words, shared=shared, directory=directory) as machine:
        await machine.guest.ready()
        yield machine
