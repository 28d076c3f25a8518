# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine can run, and what each missing thing would take. Nothing is fetched and no guest is started."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.events import tell_nobody
from passthru.image import kernel as kernels
from passthru.image.arch import ARCHES
from passthru.image.debian.mirrors import mirrors
from passthru.image.own import provide as own
from passthru.image.own.recipe import SPEC
from passthru.qemu import find as qemus
from passthru.qemu.rig import qemu_needs
from passthru.run.diagnosis import Diagnosis, State
from passthru.run.doctor_devices import examine_devices
from passthru.run.doctor_rig import examine_rig
from passthru.run.plan import QEMU_DEVICES, SOME_HAVE
from passthru.scenario.hosts import RigHost

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from passthru.scenario.models import Scenario

FETCH_BYTES = 400_000_000
"""What a first run takes in the cache, lists and downloads included, with something to spare."""

DEBIAN = "debian:"


def examine(store: Store, scenario: Scenario | None = None) -> Iterator[Diagnosis]:
    """What this machine can run; of ``scenario``, or in general. Raises KeyboardInterrupt."""
    yield _python()
    yield _cache(store)
    yield _packages()
    if scenario is None or scenario.has_guest:
        yield from _qemu(store, scenario)
    if scenario and scenario.has_guest:
        guest = scenario.guest
        yield _kernel(store, guest.kernel, guest.kernel_config, "kernel", scenario.guest_arch)[0]
    if scenario and isinstance(scenario.host, RigHost):
        yield from _rig(store, scenario.host)
    yield _kvm()
    yield _processors()
    yield from examine_devices(scenario)


def _rig(store: Store, host: RigHost) -> Iterator[Diagnosis]:
    """What the emulated host takes besides the QEMU that runs in it."""
    needs = qemu_needs(host.iommu, host.pieces, host.arch)
    yield _one_qemu(store, host.emulator, needs, "emulator", "what emulates the rig", host.arch)
    diagnosis, kernel = _kernel(store, host.kernel, (), "rig's kernel", host.arch)
    yield diagnosis
    yield from examine_rig(store, host, kernel)


def _python() -> Diagnosis:
    return Diagnosis("python", State.READY, f"Python {sys.version.split()[0]}")


def _cache(store: Store) -> Diagnosis:
    place = _existing(store.root)
    if not place.is_dir() or not os.access(place, os.W_OK):
        remedy = "set PASSTHRU_CACHE to a directory that can be written"
        return Diagnosis("cache", State.MISSING, f"{store.root} cannot be written", remedy)
    free = shutil.disk_usage(place).free
    if free < FETCH_BYTES:
        text = f"{store.root} has {free / 1e6:.0f} MB left, and a first run takes {FETCH_BYTES / 1e6:.0f} MB"
        return Diagnosis("cache", State.MISSING, text, "free some space, or set PASSTHRU_CACHE to another disk")
    return Diagnosis("cache", State.READY, f"{store.root}, {free / 1e9:.1f} GB free")


def _existing(place: Path) -> Path:
    """What there is of a path."""
    while not place.exists():
        place = place.parent
    return place


def _packages() -> Diagnosis:
    lacking = [name for name in ("apt-get", "dpkg-deb", "gpgv") if shutil.which(name) is None]
    if lacking:
        remedy = "install them, or bring a cache from another machine with `passthru cache import`"
        return Diagnosis("packages", State.MISSING, f"no {' and no '.join(lacking)} to fetch packages with", remedy)
    return Diagnosis("packages", State.READY, f"apt fetches from {', '.join(mirror.archive for mirror in mirrors())}")


def _qemu(store: Store, scenario: Scenario | None) -> Iterator[Diagnosis]:
    buses = {device.bus for device in scenario.device.values()} & SOME_HAVE.keys() if scenario else set(QEMU_DEVICES)
    wanted = scenario.guest_qemu if scenario else qemus.AUTO
    arch, on = (scenario.guest_arch, scenario.rig_arch) if scenario else ("amd64", "")
    if wanted != qemus.AUTO and not wanted.startswith(DEBIAN):
        yield _one_qemu(store, wanted, {SOME_HAVE[bus] for bus in buses}, "qemu", "", arch, on)
        return
    for bus in sorted(buses):
        yield _one_qemu(store, wanted, {SOME_HAVE[bus]}, f"bus {bus}", SOME_HAVE[bus], arch, on)


def _one_qemu(
    store: Store, spec: str, needs: Collection[str], what: str, purpose: str, arch: str, on: str = ""
) -> Diagnosis:
    """A QEMU for ``arch`` that has all of ``needs``, in words ``purpose``: here, or to be fetched.

    ``on`` is the architecture of the rig that it is to run in.
    """
    emulates = ARCHES[arch].machine
    if spec != qemus.AUTO and not spec.startswith(DEBIAN):
        try:
            return Diagnosis(what, State.READY, qemus.find(spec, needs, store, tell_nobody, arch=emulates, on=on).title)
        except PassthruError as error:
            return Diagnosis(what, State.MISSING, str(error))
    known = [qemu for qemu in qemus.known(store, emulates, on=on) if spec in (qemus.AUTO, qemu.source)]
    fit = next((qemu for qemu in known if not qemu.missing(needs)), None)
    if fit:
        return Diagnosis(what, State.READY, f"{fit.title} has {purpose}")
    others = ", ".join(qemu.title for qemu in known) or "none"
    if known and spec != qemus.AUTO:
        remedy = f"take another one than {spec}, or auto"
        return Diagnosis(what, State.MISSING, f"{others} has no {', no '.join(known[0].missing(needs))}", remedy)
    remedy = "the first run fetches one (40 MB); `passthru fetch` does so now"
    return Diagnosis(what, State.LATER, f"no QEMU here has {purpose} (here: {others})", remedy)


def _kernel(store: Store, spec: str, needs: Sequence[str], what: str, arch: str) -> tuple[Diagnosis, Kernel | None]:
    """The kernel ``spec`` of the guest, or of the rig (``what``), and the kernel itself where it is here."""
    try:
        later = _not_built(store, what, arch) if spec == SPEC else _not_fetched(store, spec, what, arch)
        if later:
            return later, None
        kernel = kernels.resolve(spec, store, tell_nobody, needs, arch=arch)
    except PassthruError as error:
        return Diagnosis(what, State.MISSING, str(error)), None
    return Diagnosis(what, State.READY, f"{kernel.release} ({spec})"), kernel


def _not_fetched(store: Store, spec: str, what: str, arch: str) -> Diagnosis | None:
    if not spec.startswith("debian:"):
        return None
    suite = spec.removeprefix("debian:").partition("/")[0]
    package = f"linux-image-cloud-{arch}" if spec.endswith("/cloud") else f"linux-image-{arch}"
    if any(suite in alias["name"] and package in alias["name"] for alias in store.aliases()):
        return None
    remedy = "the first run fetches it (about 40 MB); `passthru fetch` does so now"
    return Diagnosis(what, State.LATER, f"{spec} was not fetched yet", remedy)


def _not_built(store: Store, what: str, arch: str) -> Diagnosis | None:
    if own.built(arch, store):
        return None
    free = shutil.disk_usage(_existing(store.root)).free
    if free < own.BUILD_BYTES:
        text = f"to build it takes {own.BUILD_BYTES / 1e9:.1f} GB, and {store.root} has {free / 1e9:.1f} GB left"
        return Diagnosis(what, State.MISSING, text, "free some space, or set PASSTHRU_CACHE to another disk")
    remedy = f"the first run builds it, in about {own.minutes(arch)} minutes; `passthru fetch` does so now"
    return Diagnosis(what, State.LATER, "the own kernel was not built yet", remedy)


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
