# SPDX-License-Identifier: GPL-2.0-or-later
"""The own kernel out of a made source. The real one is built in tests/e2e/image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import Note, Progress, tell_nobody
from passthru.image.kbuild import headers
from passthru.image.kernel import resolve
from passthru.image.own import provide as own
from passthru.image.store import Store
from tests.unit.image.own.made_source import RELEASE

if TYPE_CHECKING:
    from tests.unit.image.conftest import Told
    from tests.unit.image.own.made_source import Debian


def nothing_half_made(store: Store) -> bool:
    """Whether the cache holds neither the kernel nor what was made on the way."""
    return own.built("amd64", store) is None and list((store.root / "scratch").iterdir()) == []


def test_a_kernel_is_built(store: Store, debian: Debian, told: Told) -> None:
    """With image, configuration, modules, and what further modules are built against, wherever the cache is moved."""
    assert own.built("amd64", store) is None
    kernel = resolve("own", store, told, ["PCI", "VFIO=m"])
    assert (kernel.release, kernel.source, kernel.config) == (RELEASE, "own", {"PCI": "y", "VFIO": "m"})
    assert kernel.modules and (kernel.modules / "modules.builtin").is_file()
    assert (kernel.modules / "build").readlink() == Path(f"../../../src/linux-{RELEASE}")
    tree = headers.build_tree(kernel)
    assert tree and (tree / ".config").read_bytes() == b"CONFIG_PCI=y\nCONFIG_VFIO=m\n"
    assert headers.stamp(kernel) == ""
    assert list((store.root / "scratch").iterdir()) == []
    notes = [event.text for event in told if isinstance(event, Note)]
    assert len(notes) == 1 and "is built once, in about" in notes[0]
    work = [event for event in told if isinstance(event, Progress) and event.work == "building the own kernel"]
    assert work[-1].finished and {event.unit for event in work} == {"files"}


def test_it_is_built_once(store: Store, debian: Debian) -> None:
    """What is in the cache needs nothing of Debian any more."""
    first = resolve("own", store, tell_nobody)
    debian.asked.clear()
    assert resolve("own", Store(store.root), tell_nobody) == first
    assert debian.asked == []


def test_an_update_takes_the_present_source(store: Store, debian: Debian) -> None:
    """And says nothing new where that is the same."""
    first = resolve("own", store, tell_nobody)
    assert resolve("own", store, tell_nobody, update=True) == first
    debian.versions["linux-source-9.9"] = "2"
    second = resolve("own", store, tell_nobody, update=True)
    assert first.pin and second.pin
    assert (first.pin["key"]["source"], second.pin["key"]["source"]) == (["linux-source-9.9=1"], ["linux-source-9.9=2"])
    assert resolve("own", store, tell_nobody) == second


def test_a_lock_file_s_kernel_is_taken_from_the_cache(store: Store, debian: Debian) -> None:
    """Though the name means another one by now."""
    first = resolve("own", store, tell_nobody)
    debian.versions["linux-source-9.9"] = "2"
    assert resolve("own", store, tell_nobody, update=True) != first
    assert resolve("own", store, tell_nobody, pin=first.pin) == first


def test_a_lock_file_s_kernel_is_built_again(store: Store, debian: Debian, home: Path, tmp_path: Path) -> None:
    """From the source and the options that the lock file names, though both are others by now."""
    first = resolve("own", store, tell_nobody)
    debian.versions["linux-source-9.9"] = "2"
    (home / "amd64.config").write_text("CONFIG_PCI=n\n")
    again = resolve("own", Store(tmp_path / "another"), tell_nobody, pin=first.pin)
    assert (again.identity, again.config) == (first.identity, first.config)
    assert again.pin and first.pin and again.pin["digest"] == first.pin["digest"]


def test_a_lock_file_s_kernel_that_cannot_be_built_again(store: Store, debian: Debian, tmp_path: Path) -> None:
    """Both compilers are named, and where the kernel can come from."""
    first = resolve("own", store, tell_nobody)
    debian.versions["gcc-12"] = "2"
    with pytest.raises(Unusable, match=r"built with gcc-12=1, binutils=1, and what is to be had is gcc-12=2, .*import"):
        resolve("own", Store(tmp_path / "another"), tell_nobody, pin=first.pin)


def test_an_option_that_does_not_come_out(store: Store, debian: Debian) -> None:
    """It is named with its value; nothing is built, and nothing stays."""
    debian.drop = "s/VFIO=m/VFIO=y/;/PCI/d"
    with pytest.raises(Unusable, match=r"options .*: CONFIG_PCI=y \(it is not set\), CONFIG_VFIO=m \(it is y\); see"):
        resolve("own", store, tell_nobody)
    assert nothing_half_made(store)


def test_a_build_that_fails(store: Store, debian: Debian) -> None:
    """The first error, and where the whole log is."""
    debian.fail = "echo 'net/core/dev.c:7:3: error: expected declaration'; exit 1"
    with pytest.raises(Unusable, match=r"cannot be built: net/core/dev\.c:7: expected declaration; the whole") as error:
        resolve("own", store, tell_nobody)
    log = Path(str(error.value).partition("the whole log is ")[2].partition(";")[0])
    assert "  CC      kernel/fork.o" in log.read_text().splitlines()
    assert nothing_half_made(store)


def test_a_full_disk(store: Store, debian: Debian) -> None:
    """It is the cache's trouble, and no error of the kernel's."""
    debian.fail = "echo 'fatal error: error writing to fork.s: No space left on device'; exit 1"
    with pytest.raises(Unusable, match="cannot keep the own kernel: the disk is full"):
        resolve("own", store, tell_nobody)
    assert nothing_half_made(store)


def test_an_interrupted_build(store: Store, debian: Debian) -> None:
    """Nothing half-made stays."""

    def tell(event: object) -> None:
        if isinstance(event, Progress) and event.work == "building the own kernel":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resolve("own", store, tell)
    assert nothing_half_made(store)


@pytest.mark.parametrize("arch", ["arm64", "riscv64"])
def test_another_architecture(store: Store, debian: Debian, arch: str) -> None:
    """There is none, and nothing is fetched."""
    with pytest.raises(Unusable, match=f"no own kernel for {arch}"):
        resolve("own", store, tell_nobody, arch=arch)
    assert debian.asked == []


def test_a_machine_of_another_architecture(store: Store, debian: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says where the kernel can come from."""
    monkeypatch.setattr("passthru.image.own.provide.machine_arch", lambda: "arm64")
    with pytest.raises(Unusable, match="is built on amd64 machines, and this is arm64; bring it from the cache"):
        resolve("own", store, tell_nobody)


def test_an_option_that_a_scenario_needs(store: Store, debian: Debian) -> None:
    """As for any kernel."""
    with pytest.raises(Unusable, match=r"the kernel own \(.*\) lacks CONFIG_IPV6"):
        resolve("own", store, tell_nobody, ["IPV6"])
