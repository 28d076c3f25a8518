# SPDX-License-Identifier: GPL-2.0-or-later
"""Packages of a mirror of our own, fetched by the real apt: resolved, verified, unpacked, and all that can go wrong."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable
from passthru.events import Event, Note, Progress, tell_nobody
from passthru.image.debian import packages_root, pins_of
from passthru.image.store import Store
from tests.unit.image import processes
from tests.unit.image.debian_mirror import Key, Mirror, Package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.image.store import Entry
    from tests.unit.image.conftest import Told

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("apt-get", "dpkg-deb", "gpg")),
    reason="needs apt-get, dpkg-deb and gpg, to serve a signed mirror",
)

_NOISE = random.Random(1).randbytes(300_000).hex()
TOOL = Package(
    "tool", "1:1.0-2", depends="libtool1 (>= 1)", files={"bin/tool": "#!/bin/sh\n", "usr/share/doc/tool": "x"}
)
LIB = Package(
    "libtool1",
    "1.5",
    files={"lib/x86_64-linux-gnu/libtool.so.1.5": _NOISE, "lib/x86_64-linux-gnu/libtool.so.1": "-> libtool.so.1.5"},
)
NEWER = Package("tool", "1:1.1-1", depends="libtool1", files={"usr/bin/tool": "#!/bin/sh\n# newer\n"})


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    """The key that our Debian signs with."""
    made = Key(tmp_path_factory.mktemp("k") / "gpg")
    yield made
    made.stop()


@pytest.fixture
def mirror(tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror with one suite, and this process told to use it."""
    made = Mirror(tmp_path / "mirror", key)
    made.publish("sid", [TOOL, LIB])
    monkeypatch.setenv("PASSTHRU_DEBIAN_MIRROR", made.url)
    monkeypatch.setenv("PASSTHRU_DEBIAN_KEYRING", str(key.keyring))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.stop()


def fetch(store: Store, *packages: str, suite: str = "sid", update: bool = False) -> Entry:
    """The root of packages, told to nobody."""
    return packages_root(suite, packages or ["tool"], "amd64", store, tell_nobody, update=update)


def assert_nothing(store: Store) -> None:
    """No entry, no name, nothing half-made."""
    assert list(store.root.glob("entries/*/*")) == []
    assert store.aliases() == []
    assert list(store.root.glob("scratch/*")) == []


def test_a_package_with_all_it_depends_on(mirror: Mirror, store: Store, told: Told) -> None:
    """In one merged root, with the exact versions as its key, and progress in bytes."""
    root = packages_root("sid", ["tool"], "amd64", store, told)
    assert root.key["packages"] == ["libtool1=1.5", "tool=1:1.0-2"]
    assert pins_of(root) == {"libtool1": "1.5", "tool": "1:1.0-2"}
    assert (root.path / "usr/bin/tool").read_text() == "#!/bin/sh\n"
    assert str((root.path / "bin").readlink()) == "usr/bin"
    assert (
        root.path / "lib/x86_64-linux-gnu/libtool.so.1"
    ).resolve() == root.path / "usr/lib/x86_64-linux-gnu/libtool.so.1.5"
    size = mirror.path(TOOL).stat().st_size + mirror.path(LIB).stat().st_size
    bars = [event for event in told if isinstance(event, Progress) and event.unit == "bytes"]
    assert bars[-1] == Progress("fetching tool of Debian sid", size, size, "bytes", finished=True)
    assert [bar.done for bar in bars] == sorted(bar.done for bar in bars)
    assert list((store.root / "area").rglob("*.deb")) == []


def test_a_cache_whose_path_has_spaces(mirror: Mirror, tmp_path: Path) -> None:
    """And other letters that apt's configuration might take for its own."""
    store = Store(tmp_path / "my cache; #1 {größer}")
    assert (fetch(store).path / "usr/bin/tool").is_file()


def test_a_moved_cache(mirror: Mirror, store: Store) -> None:
    """No path of this machine is part of what it holds."""
    before = fetch(store)
    store.close()
    moved = Store(store.root.rename(store.root.with_name("elsewhere")))
    assert fetch(moved).pin == before.pin
    assert (fetch(moved, "libtool1").path / "usr/lib/x86_64-linux-gnu/libtool.so.1").is_file()


def test_a_hit_opens_no_connection(mirror: Mirror, store: Store) -> None:
    """Once fetched it works without any mirror, and without apt."""
    root = fetch(store)
    mirror.stop()
    assert fetch(store) == root
    assert packages_root("sid", ["tool"], "amd64", store, tell_nobody, pins=pins_of(root)) == root


def test_a_package_alone_and_a_part_of_a_closure(mirror: Mirror, store: Store) -> None:
    """Without what it depends on, and only what matches."""
    alone = packages_root("sid", ["tool"], "amd64", store, tell_nobody, closure=False)
    assert pins_of(alone) == {"tool": "1:1.0-2"}
    part = packages_root("sid", ["tool"], "amd64", store, tell_nobody, only="lib.*")
    assert pins_of(part) == {"libtool1": "1.5"}
    with pytest.raises(Unusable, match="depends on matches"):
        packages_root("sid", ["tool"], "amd64", store, tell_nobody, only="nothing")


def test_backports_win_over_their_base(mirror: Mirror, store: Store) -> None:
    """Though the mirror marks them as not automatic; what they lack comes from the base."""
    mirror.publish("bookworm", [TOOL, LIB])
    mirror.publish("bookworm-backports", [NEWER], backports=True)
    assert pins_of(fetch(store, suite="bookworm-backports")) == {"libtool1": "1.5", "tool": "1:1.1-1"}
    assert pins_of(fetch(store, suite="bookworm")) == {"libtool1": "1.5", "tool": "1:1.0-2"}


def test_missing_security_and_updates_are_told(mirror: Mirror, store: Store, told: Told) -> None:
    """A mirror without them still serves."""
    mirror.publish("bookworm", [TOOL, LIB])
    packages_root("bookworm", ["tool"], "amd64", store, told)
    assert any(isinstance(event, Note) and "is left out" in event.text for event in told)


def test_a_suite_moves_on_only_when_asked(mirror: Mirror, store: Store) -> None:
    """Unchanged versions are the same entry; new ones come by update."""
    old = fetch(store)
    assert fetch(store, update=True) == old
    assert mirror.fetched(TOOL.file) == 1
    mirror.publish("sid", [NEWER, LIB])
    assert fetch(store) == old
    assert pins_of(fetch(store, update=True)) == {"libtool1": "1.5", "tool": "1:1.1-1"}
    assert pins_of(fetch(store))["tool"] == "1:1.1-1"


def test_lists_that_are_too_old_are_read_again(mirror: Mirror, store: Store, told: Told) -> None:
    """The mirror moved on since the lists were read: the file of the old version is gone."""
    fetch(store, "libtool1")
    mirror.publish("sid", [NEWER, LIB])
    mirror.withdraw(TOOL)
    root = packages_root("sid", ["tool"], "amd64", store, told)
    assert pins_of(root)["tool"] == "1:1.1-1"
    assert any(isinstance(event, Note) and "reading the lists of Debian sid anew" in event.text for event in told)


def test_pins_bring_exactly_these(mirror: Mirror, store: Store) -> None:
    """Whatever the suite means by now."""
    mirror.publish("sid", [NEWER, TOOL, LIB])
    assert pins_of(fetch(store))["tool"] == "1:1.1-1"
    pins = {"tool": "1:1.0-2", "libtool1": "1.5"}
    assert pins_of(packages_root("sid", ["tool"], "amd64", store, tell_nobody, pins=pins)) == pins


def test_a_pin_that_the_mirror_no_longer_has(mirror: Mirror, store: Store) -> None:
    """The sentence names it, and the way out."""
    with pytest.raises(Unusable, match=r"no longer has tool 1:0\.9, which the lock file wants.*passthru cache import"):
        packages_root("sid", ["tool"], "amd64", store, tell_nobody, pins={"tool": "1:0.9"})
    assert_nothing(store)


def test_a_suite_signed_by_somebody_else(mirror: Mirror, store: Store, tmp_path: Path) -> None:
    """Nothing of it is used."""
    stranger = Key(tmp_path / "stranger")
    mirror.publish("sid", [TOOL, LIB], key=stranger)
    stranger.stop()
    with pytest.raises(Unusable, match="sid"):
        fetch(store)
    assert mirror.fetched(".deb") == 0
    assert_nothing(store)


def test_an_unsigned_suite(mirror: Mirror, store: Store) -> None:
    """Nor of this one."""
    home = mirror.root / "debian/dists/sid"
    text = (home / "InRelease").read_text()
    (home / "Release").write_text(text.split("\n\n", 1)[1].split("-----BEGIN PGP SIGNATURE")[0])
    (home / "InRelease").unlink()
    with pytest.raises(Unusable, match="sid"):
        fetch(store)
    assert mirror.fetched(".deb") == 0


def test_lists_that_were_tampered_with(mirror: Mirror, store: Store) -> None:
    """The signature covers them."""
    lists = mirror.root / "debian/dists/sid/main/binary-amd64/Packages"
    lists.write_text(lists.read_text().replace("1.5", "1.6"))
    with pytest.raises(Unusable, match="sid"):
        fetch(store)
    assert_nothing(store)


def test_a_package_that_was_tampered_with(mirror: Mirror, store: Store) -> None:
    """Of the same size, so that only its digest tells."""
    flip(mirror.path(LIB))
    with pytest.raises(Unusable, match="could not be fetched from Debian sid"):
        fetch(store)
    assert_nothing(store)


def test_a_package_that_was_tampered_with_in_the_cache(mirror: Mirror, store: Store) -> None:
    """apt would take a file that is there by its size."""
    archives = store.area("apt/sid-amd64/debs")
    shutil.copy(mirror.path(LIB), archives)
    flip(archives / LIB.file)
    root = fetch(store)
    assert (root.path / "usr/lib/x86_64-linux-gnu/libtool.so.1").read_text() == _NOISE
    assert mirror.fetched(LIB.file) == 1


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_the_suite_lacks(mirror: Mirror, store: Store) -> None:
    """A package, a suite: each is named."""
    with pytest.raises(Unusable, match="Debian sid has no package nosuch for amd64"):
        fetch(store, "nosuch")
    with pytest.raises(Unusable, match="there is no Debian suite forky"):
        fetch(store, suite="forky")


def test_what_cannot_be_resolved(mirror: Mirror, store: Store) -> None:
    """apt's own words are in the sentence."""
    mirror.publish("sid", [TOOL])
    with pytest.raises(Unusable, match="apt cannot resolve tool in Debian sid"):
        fetch(store)


def test_no_network_and_a_cold_cache(mirror: Mirror, store: Store) -> None:
    """Which suite, which host, what to do."""
    mirror.stop()
    with pytest.raises(
        Unusable, match=r"Debian sid could not be reached at http://127\.0\.0\.1.*check the network"
    ) as error:
        fetch(store)
    assert "\n" not in str(error.value)
    assert_nothing(store)


def test_no_network_and_older_lists(mirror: Mirror, store: Store, told: Told) -> None:
    """What the lists promise cannot be fetched; that the network is the reason is told."""
    fetch(store, "libtool1")
    mirror.stop()
    (store.root / "area/apt/sid-amd64/fresh").unlink()
    with pytest.raises(Unusable, match="tool of Debian sid could not be fetched"):
        packages_root("sid", ["tool"], "amd64", store, told)
    assert any(isinstance(event, Note) and "could not be refreshed" in event.text for event in told)


def test_a_machine_without_apt(mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unusable, match="apt-get is missing"):
        fetch(store)


def test_a_machine_without_debian_s_keys(mirror: Mirror, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """And here too."""
    monkeypatch.setenv("PASSTHRU_DEBIAN_KEYRING", "/nonexistent")
    with pytest.raises(Unusable, match="debian-archive-keyring"):
        fetch(store)


FETCH = """
from passthru.image.debian import packages_root
try:
    say(packages_root("sid", ["tool"], "amd64", store, tell).path)
except PassthruError as error:
    say(error)
"""


def test_what_an_interrupted_fetch_left_is_used(mirror: Mirror, store: Store) -> None:
    """Neither fetched again nor forgotten: apt names only what its own archives lack."""
    shutil.copy(mirror.path(LIB), store.area("apt/sid-amd64/debs"))
    assert (fetch(store).path / "usr/lib/x86_64-linux-gnu/libtool.so.1").is_file()
    assert mirror.fetched(LIB.file) == 0


def test_a_kill_during_the_download(mirror: Mirror, store: Store) -> None:
    """Nothing half-made; the next one finds its way."""
    mirror.gate.clear()
    victim = processes.start(FETCH, store.root)
    assert mirror.halfway.wait(processes.SECONDS)
    processes.kill(victim)
    mirror.gate.set()
    store.sweep()
    assert_nothing(store)
    assert pins_of(fetch(store)) == {"libtool1": "1.5", "tool": "1:1.0-2"}


def test_an_interrupt_during_the_download(mirror: Mirror, store: Store) -> None:
    """What a teller raises ends apt and passes through."""
    mirror.gate.clear()

    def interrupts(event: Event) -> None:
        if isinstance(event, Progress) and event.work.startswith("fetching") and event.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packages_root("sid", ["tool"], "amd64", store, interrupts)
    assert_nothing(store)
    mirror.gate.set()
    assert (fetch(store).path / "usr/bin/tool").is_file()


def test_two_at_once(mirror: Mirror, store: Store) -> None:
    """One fetches, the other waits and says so; both have the same."""
    mirror.gate.clear()
    first = processes.start(FETCH, store.root)
    assert mirror.halfway.wait(processes.SECONDS)
    second = processes.start(FETCH, store.root)
    assert "waiting for another process that is busy with Debian sid" in processes.line(second)
    mirror.gate.set()
    path = processes.end(first).strip()
    assert processes.end(second).strip() == path
    assert os.path.isdir(path)  # noqa: PTH112
    assert mirror.fetched(LIB.file) == 1


def test_a_full_disk_during_the_fetch(mirror: Mirror, tmp_path: Path) -> None:
    """A sentence, and nothing half-made."""
    said = processes.on_small_disk(
        FETCH + "say(list(store.root.glob('entries/*/*')))\n", tmp_path / "disk", "size=200k"
    )
    assert "the disk is full at the cache" in said
    assert said.strip().endswith("[]")


def test_the_machine_s_own_apt_is_not_touched(
    mirror: Mirror, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks of its configuration do not run, its default release does not matter; its proxies do hold."""
    hooked = tmp_path / "hooked"
    config = tmp_path / "machine.conf"
    config.write_text(
        f'APT::Update::Pre-Invoke {{ "touch {hooked}"; }};\nAPT::Update::Post-Invoke-Success {{ "touch {hooked}"; }};\n'
        f'DPkg::Pre-Invoke {{ "touch {hooked}"; }};\nAPT::Default-Release "bookworm";\n'
        'APT::Install-Recommends "true";\n'
        'Dir::Cache::pkgcache "";\nAcquire::GzipIndexes "true";\nAcquire::Languages { "de"; };\n'
        'APT::Architectures { "riscv64"; };\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    assert (fetch(store).path / "usr/bin/tool").is_file()
    assert not hooked.exists()
    config.write_text('Acquire::http::Proxy "http://127.0.0.1:9";\n')
    monkeypatch.delenv("no_proxy")
    (store.root / "area/apt/sid-amd64/fresh").unlink()
    with pytest.raises(Unusable, match="could not be fetched"):
        packages_root("sid", ["tool"], "amd64", store, tell_nobody, pins={"tool": "1:1.0-2"})
