# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine can run, and what each missing thing would take. Nothing is fetched and no guest is started."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.events import tell_nobody
from passthru.image import kernel as kernels
from passthru.image.debian.mirrors import mirrors
from passthru.qemu import find as qemus
from passthru.run.plan import QEMU_DEVICES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.image.store import Store
    from passthru.scenario.models import Scenario

FETCH_BYTES = 400_000_000
"""What a first run takes in the cache, lists and downloads included, with something to spare."""


class State(Enum):
    """How something stands."""

    READY = "ready"
    LATER = "later"
    """Not here, and got by itself when it is needed."""
    SLOWER = "slower"
    """Not here; runs work without it."""
    MISSING = "missing"
    """Not here, and nothing runs without it."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that runs need: how it stands, in a sentence, and what to do where it does not."""

    what: str
    state: State
    text: str
    remedy: str = ""


def examine(store: Store, scenario: Scenario | None = None) -> Iterator[Diagnosis]:
    """What this machine can run; of ``scenario``, or in general."""
    yield _python()
    yield _cache(store)
    yield _packages()
    yield from _qemu(store, scenario)
    if scenario:
        yield _kernel(store, scenario)
    yield _kvm()
    yield _processors()


def _python() -> Diagnosis:
    return Diagnosis("python", State.READY, f"Python {sys.version.split()[0]}")


def _cache(store: Store) -> Diagnosis:
    place = store.root
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        remedy = "set PASSTHRU_CACHE to a directory that can be written"
        return Diagnosis("cache", State.MISSING, f"{store.root} cannot be written", remedy)
    free = shutil.disk_usage(place).free
    if free < FETCH_BYTES:
        text = f"{store.root} has {free / 1e6:.0f} MB left, and a first run takes {FETCH_BYTES / 1e6:.0f} MB"
        return Diagnosis("cache", State.MISSING, text, "free some space, or set PASSTHRU_CACHE to another disk")
    return Diagnosis("cache", State.READY, f"{store.root}, {free / 1e9:.1f} GB free")


def _packages() -> Diagnosis:
    lacking = [name for name in ("apt-get", "dpkg-deb", "gpgv") if shutil.which(name) is None]
    if lacking:
        remedy = "install them, or bring a cache from another machine with `passthru cache import`"
        return Diagnosis("packages", State.MISSING, f"no {' and no '.join(lacking)} to fetch packages with", remedy)
    return Diagnosis("packages", State.READY, f"apt fetches from {', '.join(mirror.archive for mirror in mirrors())}")


def _qemu(store: Store, scenario: Scenario | None) -> Iterator[Diagnosis]:
    buses = {device.bus for device in scenario.device.values()} if scenario else set(QEMU_DEVICES)
    wanted = scenario.guest.qemu if scenario else qemus.AUTO
    if wanted != qemus.AUTO and not wanted.startswith("debian:"):
        needs = sorted({QEMU_DEVICES[bus] for bus in buses})
        try:
            found = qemus.find(wanted, needs, store, tell_nobody)
        except PassthruError as error:
            yield Diagnosis("qemu", State.MISSING, str(error))
        else:
            yield Diagnosis("qemu", State.READY, found.title)
        return
    known = [entry.qemu for entry in qemus.list_all(store, arch="x86_64") if entry.qemu]
    for bus in sorted(buses):
        device = QEMU_DEVICES[bus]
        fit = next((qemu for qemu in known if device in qemu.devices), None)
        if fit:
            yield Diagnosis(f"bus {bus}", State.READY, f"{fit.title} has {device}")
        else:
            others = ", ".join(qemu.title for qemu in known) or "none"
            remedy = "the first run fetches one (40 MB); `passthru fetch` does so now"
            yield Diagnosis(f"bus {bus}", State.LATER, f"no QEMU here has {device} (here: {others})", remedy)


def _kernel(store: Store, scenario: Scenario) -> Diagnosis:
    guest = scenario.guest
    if guest.kernel.startswith("debian:"):
        suite = guest.kernel.removeprefix("debian:").partition("/")[0]
        package = "linux-image-cloud" if guest.kernel.endswith("/cloud") else "linux-image-amd64"
        if not any(suite in alias["name"] and package in alias["name"] for alias in store.aliases()):
            remedy = "the first run fetches it (about 40 MB); `passthru fetch` does so now"
            return Diagnosis("kernel", State.LATER, f"{guest.kernel} was not fetched yet", remedy)
    try:
        kernel = kernels.resolve(guest.kernel, store, tell_nobody, guest.kernel_config)
    except PassthruError as error:
        return Diagnosis("kernel", State.MISSING, str(error))
    return Diagnosis("kernel", State.READY, f"{kernel.release} ({guest.kernel})")


def _kvm() -> Diagnosis:
    device = Path("/dev/kvm")
    if not device.exists():
        remedy = (
            "on hardware: load kvm_intel or kvm_amd; in a VM: enable nested virtualization; in a container: pass it in"
        )
        return Diagnosis("kvm", State.SLOWER, "there is no /dev/kvm, so guests are emulated", remedy)
    with contextlib.suppress(OSError):
        os.close(os.open(device, os.O_RDWR))
        return Diagnosis(
            "kvm", State.READY, "/dev/kvm opens; the first run tries a short guest on it before it is used"
        )
    remedy = "add yourself to the group of /dev/kvm (usually kvm)"
    return Diagnosis("kvm", State.SLOWER, "/dev/kvm cannot be opened, so guests are emulated", remedy)


def _processors() -> Diagnosis:
    count = len(os.sched_getaffinity(0))
    return Diagnosis("processors", State.READY, f"{count}: `-j {max(1, count)}` keeps them busy")
