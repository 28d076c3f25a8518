# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU that runs in a rig of another architecture: this machine's twin of it answers for it."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from passthru.errors import Unusable
from passthru.events import Event, Note
from passthru.image.arch import machine_arch
from passthru.qemu import debian
from passthru.qemu.find import find, list_all, pinned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.image.store import Entry, Store
    from passthru.qemu.binary import Qemu
    from tests.unit.qemu.conftest import StandIn

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 is another architecture on amd64 only")

BOTH = ("vfio-pci", "vfio-platform")


class Archive:
    """Debian's archive: suites, each with a QEMU for this machine and one for arm64."""

    def __init__(self, stand_in: Callable[..., StandIn]) -> None:
        self.stand_in = stand_in
        self.has: dict[str, dict[str, str]] = {}
        """Suite -> architecture -> version of the package."""
        self.devices: dict[str, Sequence[str]] = {}
        self.asked: list[str] = []

    def serve(self, suite: str, here: str, there: str, devices: Sequence[str] = BOTH) -> None:
        """Have these versions in a suite from now on."""
        self.has[suite] = {"amd64": here, "arm64": there}
        self.devices[suite] = devices

    def packages_root(
        self, suite: str, packages: Sequence[str], arch: str, store: Store, tell: Any, **_: object
    ) -> Entry:
        """As the real one, without its own aliases."""
        self.asked.append(f"{suite} {arch}")
        if suite not in self.has:
            raise Unusable(f"Debian {suite} could not be reached")
        version = self.has[suite][arch]
        key: dict[str, str | Sequence[str]] = {"arch": arch, "packages": [f"{packages[0]}={version}"]}
        return store.entry("debian", key, lambda tree: self._fill(tree, suite, arch, version), tell)

    def _fill(self, tree: Path, suite: str, arch: str, version: str) -> None:
        machine = debian._machine(arch)
        for folder in ("usr/bin", "usr/share/qemu", machine.libraries):
            (tree / folder).mkdir(parents=True)
        program = tree / "usr/bin/qemu-system-aarch64"
        loader = tree / machine.libraries / machine.loader
        if arch != "amd64":
            program.write_bytes(b"of another machine")
            loader.write_bytes(b"of another machine")
            return
        number = re.split("[:+-]", version)[1]
        made = self.stand_in(
            f"{suite}-{version}/qemu-system-aarch64",
            version=f"{number}.0",
            arch="aarch64",
            devices=list(self.devices[suite]),
            machines=["virt"],
            accelerators=["tcg"],
        )
        made.path.rename(program)
        Path(f"{made.path}.json").rename(f"{program}.json")
        loader.write_text('#!/bin/sh\nshift 2\nexec "$@"\n')
        loader.chmod(0o755)


@pytest.fixture
def archive(stand_in: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch) -> Archive:
    """One without suites, and nothing on PATH."""
    made = Archive(stand_in)
    monkeypatch.setattr(debian, "packages_root", made.packages_root)
    monkeypatch.setenv("PATH", "/nowhere")
    return made


def for_rig(spec: str, store: Store, told: list[Event], needs: Sequence[str] = (), **more: Any) -> Qemu:
    """The QEMU for an arm64 rig."""
    return find(spec, needs, store, told.append, arch="aarch64", on="arm64", **more)


def test_its_twin_answers_for_it(archive: Archive, store: Store, told: list[Event]) -> None:
    """Rebuilds of one source are twins; KVM is in the one whose architecture is emulated."""
    archive.serve("bookworm", here="1:7.2+dfsg-7+b3", there="1:7.2+dfsg-7+b1")
    qemu = for_rig("debian:bookworm", store, told, ["vfio-platform"])
    assert (qemu.version, qemu.arch, qemu.runs_on) == ("7.2.0", "aarch64", "arm64")
    assert qemu.accelerators == {"tcg", "kvm"}
    assert qemu.command[0].endswith("/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1")
    assert qemu.root
    assert qemu.root["key"]["arch"] == "arm64"
    assert archive.asked == ["bookworm arm64", "bookworm amd64"]
    archive.has.clear()
    assert for_rig("debian:bookworm", store, told) == qemu
    assert len(archive.asked) == 2


def test_it_is_not_one_for_this_machine(archive: Archive, store: Store, told: list[Event]) -> None:
    """Only the twin is offered here."""
    archive.serve("bookworm", here="1:7.2-1", there="1:7.2-1")
    for_rig("debian:bookworm", store, told)
    (only,) = list_all(store)
    assert only.qemu
    assert (only.qemu.accelerators, only.qemu.runs_on) == (frozenset({"tcg"}), "")
    assert find("auto", BOTH, store, told.append, arch="aarch64", on=machine_arch()) == only.qemu


def test_an_older_twin_is_brought_up_to_date(archive: Archive, store: Store, told: list[Event]) -> None:
    """Where the suites differ all the same, nobody can answer."""
    archive.serve("sid", here="1:11.0-1", there="1:11.1-1")
    with pytest.raises(Unusable, match=r"debian:sid is 1:11.1-1 for arm64 and 1:11.0-1 for this machine.*--update"):
        for_rig("debian:sid", store, told)
    archive.serve("trixie-backports", here="1:11.0-1", there="1:11.0-1")
    assert for_rig("auto", store, told).source == "debian:trixie-backports"
    archive.serve("sid", here="1:11.1-1", there="1:11.1-1")
    assert for_rig("debian:sid", store, told).version == "11.1.0"
    assert "of another version than the one here" in next(event.text for event in told if isinstance(event, Note))


def test_auto_takes_the_first_suite_that_can(archive: Archive, store: Store, told: list[Event]) -> None:
    """Then what is in the cache, without a connection; a suite that the mirror lacks is passed over."""
    archive.serve("bookworm", here="1:7.2-1", there="1:7.2-1")
    assert for_rig("auto", store, told, ["vfio-platform"]).source == "debian:bookworm"
    asked = list(archive.asked)
    assert asked[0] == "trixie arm64"
    assert for_rig("auto", store, told, ["vfio-platform"]).source == "debian:bookworm"
    assert archive.asked == asked
    archive.serve("trixie-backports", here="1:11.1-1", there="1:11.1-1", devices=["vfio-user-pci"])
    assert for_rig("auto", store, told, ["vfio-user-pci"]).source == "debian:trixie-backports"


def test_what_cannot_be_used_is_told(archive: Archive, store: Store, told: list[Event]) -> None:
    """A program of this machine, a device that it lacks, a suite that is not to be had."""
    archive.serve("bookworm", here="1:7.2-1", there="1:7.2-1", devices=["vfio-pci"])
    with pytest.raises(
        Unusable, match=r"^/opt/qemu is a program of this machine, and the guest runs in a rig of arm64"
    ):
        for_rig("/opt/qemu", store, told)
    with pytest.raises(Unusable, match=r"cannot run this scenario, since it has no vfio-platform"):
        for_rig("debian:bookworm", store, told, ["vfio-platform"])
    with pytest.raises(Unusable, match=r"^Debian trixie could not be reached$"):
        for_rig("auto", store, told, ["vfio-platform"])
    archive.serve("trixie", here="1:10.0-1", there="1:10.0-1", devices=["vfio-pci"])
    with pytest.raises(
        Unusable, match=r"^no QEMU has vfio-platform: .*7\.2\.0 .*10\.0\.0 \(debian:trixie\): it has no"
    ):
        for_rig("auto", store, told, ["vfio-platform"])


def test_a_lock_file_keeps_what_it_answered(archive: Archive, store: Store, told: list[Event]) -> None:
    """So that a cache that was brought here needs no twin."""
    archive.serve("bookworm", here="1:7.2-1", there="1:7.2-1")
    qemu = for_rig("debian:bookworm", store, told)
    pin = json.loads(json.dumps(qemu.pin))
    archive.asked.clear()
    (store.root / "area/answers").rename(store.root / "area/away")
    assert pinned(pin, store, told.append, arch="aarch64") == qemu
    assert archive.asked == []
