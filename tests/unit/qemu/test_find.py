# SPDX-License-Identifier: GPL-2.0-or-later
"""Which QEMU is used."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.events import Event, Note
from passthru.image.store import Entry, Store
from passthru.qemu import debian
from passthru.qemu.find import find, list_all, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.qemu.conftest import StandIn

NEEDS = ("vfio-user-pci",)


@pytest.fixture(autouse=True)
def empty_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No QEMU of this machine, and nothing fetched."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))

    def no_network(suite: str, *_: object, **__: object) -> Entry:
        raise Unusable(f"Debian {suite} could not be reached")

    monkeypatch.setattr(debian, "packages_root", no_network)


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    def use(*folders: str) -> None:
        monkeypatch.setenv("PATH", ":".join(str(tmp_path / folder) for folder in folders))

    return use


@pytest.fixture
def fetch(stand_in: Callable[..., StandIn], told: list[Event]) -> Callable[..., Entry]:
    """Puts a QEMU into the cache as debian.packages_root does; its loader only starts the program."""

    def make(store: Store, suite: str, **answers: object) -> Entry:
        program = stand_in(f"{suite}/qemu-system-x86_64", **answers)

        def build(tree: Path) -> None:
            machine = debian._machine("")
            for folder in ("usr/bin", "usr/share/qemu", "usr/lib64", machine.libraries + "/qemu"):
                (tree / folder).mkdir(parents=True)
            target = tree / "usr/bin/qemu-system-x86_64"
            program.path.rename(target)
            Path(f"{program.path}.json").rename(f"{target}.json")
            loader = tree / machine.libraries / machine.loader
            (tree / "usr/lib64" / machine.loader).symlink_to("/bin/false")  # as in bookworm: this machine's own
            loader.write_text('#!/bin/sh\n[ -d "$QEMU_MODULE_DIR" ] || exit 9\nshift 2\nexec "$@"\n')
            loader.chmod(0o755)

        packages = [f"qemu={suite}"]
        return store.entry("debian", {"arch": platform.machine(), "packages": packages}, build, told.append)

    return make


def test_the_first_on_path_that_can(
    stand_in: Callable[..., StandIn], on_path: Callable[..., None], store: Store, told: list[Event]
) -> None:
    stand_in("a/qemu-system-x86_64", version="7.2.0", devices=["vfio-pci"])
    stand_in("b/qemu-system-x86_64", version="10.1.0")
    stand_in("c/qemu-system-x86_64", version="11.0.0")
    on_path("missing", "a", "b", "c")
    assert find("auto", NEEDS, store, told.append).version == "10.1.0"
    assert find("auto", (), store, told.append).version == "7.2.0"
    assert told == []


def test_what_is_on_path_and_will_not_do_is_told(
    stand_in: Callable[..., StandIn],
    on_path: Callable[..., None],
    script: Callable[[str, str], Path],
    fetch: Callable[..., Entry],
    store: Store,
    told: list[Event],
) -> None:
    stand_in("a/qemu-system-x86_64", version="7.2.0", devices=["vfio-pci"])
    script("b/qemu-system-x86_64", "junk")
    on_path("a", "b")
    store.set_alias("qemu", "sid/x86_64", fetch(store, "sid"))
    assert find("auto", NEEDS, store, told.append).source == "debian:sid"
    notes = [event.text for event in told if isinstance(event, Note)]
    assert "not using QEMU 7.2.0 " in notes[0]
    assert "it has no vfio-user-pci" in notes[0]
    assert "no program for this machine" in notes[1]


def test_a_named_one_that_lacks_a_device(stand_in: Callable[..., StandIn], store: Store, told: list[Event]) -> None:
    path = stand_in(version="10.0.2", devices=["vfio-pci"]).path
    with pytest.raises(Unusable) as caught:
        find(str(path), NEEDS, store, told.append)
    message = str(caught.value)
    assert f"QEMU 10.0.2 ({path}) cannot run this scenario, since it has no vfio-user-pci; " in message
    assert message.endswith("; use --qemu debian:sid, or leave --qemu out and passthru finds one that can")
    with pytest.raises(Unusable) as caught:
        find(str(path), NEEDS, store, told.append, option="--set host.emulator=")
    assert "; use --set host.emulator=debian:sid, or leave --set host.emulator out" in str(caught.value)
    with pytest.raises(Unusable, match="emulates x86_64 and not aarch64"):
        find(str(path), (), store, told.append, arch="aarch64")


def test_a_named_one_by_its_name_alone(
    stand_in: Callable[..., StandIn], on_path: Callable[..., None], store: Store, told: list[Event]
) -> None:
    stand_in("a/my-qemu")
    on_path("a")
    assert find("my-qemu", NEEDS, store, told.append).source.endswith("/a/my-qemu")


@pytest.mark.parametrize("spec", ["/no/such", "no-such", "a\0b", "", "/"])
def test_a_name_of_nothing(spec: str, store: Store, told: list[Event]) -> None:
    with pytest.raises(Unusable, match="--qemu PATH"):
        find(spec, NEEDS, store, told.append)


def test_a_suite_that_cannot_be_one(store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with pytest.raises(UserMistake, match="no name of a Debian suite"):
        find("debian:../../x", NEEDS, store, told.append)


def test_one_is_fetched_where_none_will_do_and_used_again_without_a_connection(
    fetch: Callable[..., Entry], store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def packages_root(suite: str, packages: tuple[str, ...], *_: object, **__: object) -> Entry:
        asked.append(suite)
        assert "qemu-system-x86" in packages
        return fetch(store, suite, version="10.0.8" if suite == "trixie-backports" else "11.1.3",
                     devices=[] if suite == "trixie-backports" else list(NEEDS))  # fmt: skip

    monkeypatch.setattr(debian, "packages_root", packages_root)
    assert find("auto", NEEDS, store, told.append).source == "debian:forky"
    assert asked == ["trixie-backports", "forky"]
    assert find("auto", NEEDS, store, told.append).source == "debian:forky"
    assert find("debian:forky", NEEDS, store, told.append).version == "11.1.3"
    assert asked == ["trixie-backports", "forky"]


def test_a_mirror_that_lacks_one_suite(
    fetch: Callable[..., Entry], store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def packages_root(suite: str, *_: object, **__: object) -> Entry:
        if suite == "trixie-backports":
            raise Unusable("no such suite here")
        return fetch(store, suite)

    monkeypatch.setattr(debian, "packages_root", packages_root)
    assert find("auto", NEEDS, store, told.append).source == "debian:forky"


def test_without_network_the_first_error_is_told(store: Store, told: list[Event]) -> None:
    with pytest.raises(Unusable, match=r"^Debian trixie-backports could not be reached$"):
        find("auto", NEEDS, store, told.append)


def test_a_full_disk_is_told_at_once(store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def packages_root(suite: str, *_: object, **__: object) -> Entry:
        asked.append(suite)
        raise Unusable("the disk is full") from OSError(28, "No space left on device")

    monkeypatch.setattr(debian, "packages_root", packages_root)
    with pytest.raises(Unusable, match="the disk is full"):
        find("auto", NEEDS, store, told.append)
    assert len(asked) == 1


def test_what_no_suite_has(
    fetch: Callable[..., Entry], store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "packages_root", lambda suite, *_, **__: fetch(store, suite))
    with pytest.raises(Unusable, match=r"^no QEMU has warp-drive: .*debian:sid.*it has no warp-drive"):
        find("auto", ("warp-drive",), store, told.append)


def test_devices_that_newer_ones_lost_are_looked_for_in_older_suites() -> None:
    assert debian.suites_for(["vfio-platform"])[0] == "trixie"
    assert debian.suites_for(NEEDS) == ("trixie-backports", "forky", "sid")


def test_a_cache_can_be_moved(fetch: Callable[..., Entry], store: Store, told: list[Event], tmp_path: Path) -> None:
    store.set_alias("qemu", "sid/x86_64", fetch(store, "sid"))
    before = find("auto", NEEDS, store, told.append)
    store.close()
    moved = tmp_path / "moved"
    store.root.rename(moved)
    after = find("auto", NEEDS, Store(moved), told.append)
    assert after.identity == before.identity
    assert all(word.startswith(str(moved)) for word in (after.command[0], after.command[3], *after.env.values()))
    assert pinned(before.pin, Store(moved), told.append) == after


def test_a_fetched_one_of_another_machine_is_passed_over_and_named_when_asked_for(
    fetch: Callable[..., Entry], store: Store, told: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set_alias("qemu", "sid/x86_64", fetch(store, "sid"))
    other = "x86_64" if platform.machine() == "aarch64" else "aarch64"
    monkeypatch.setattr(platform, "machine", lambda: other)
    assert list_all(store) == []
    with pytest.raises(Unusable, match=r"^debian:sid in the cache .* holds no QEMU for x86_64 that this "):
        find("debian:sid", NEEDS, store, told.append)


def test_a_lock_file_names_a_program_of_this_machine(
    stand_in: Callable[..., StandIn], store: Store, told: list[Event]
) -> None:
    pin = find(str(stand_in().path), NEEDS, store, told.append).pin
    assert pinned(pin, store, told.append).version == "11.1.3"
    stand_in(version="12.0.0").path.touch()
    with pytest.raises(Unusable, match=r"is QEMU 12\.0\.0 by now, and the run to be repeated used 11\.1\.3"):
        pinned(pin, store, told.append)


def test_the_list_has_all_of_them_and_says_what_is_none(
    stand_in: Callable[..., StandIn],
    on_path: Callable[..., None],
    script: Callable[[str, str], Path],
    fetch: Callable[..., Entry],
    store: Store,
    tmp_path: Path,
) -> None:
    stand_in("a/qemu-system-x86_64")
    stand_in("a/qemu-system-aarch64", arch="aarch64")
    script("b/qemu-system-riscv64", "#!/bin/sh\nexit 1\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/qemu-system-x86_64").symlink_to(tmp_path / "a/qemu-system-x86_64")
    on_path("a", "b", "c")
    store.set_alias("qemu", "sid/x86_64", fetch(store, "sid", version="12.0.0"))
    found = {line.source.removeprefix(f"{tmp_path}/"): line for line in list_all(store)}
    assert list(found) == ["a/qemu-system-aarch64", "a/qemu-system-x86_64", "b/qemu-system-riscv64", "debian:sid"]
    assert found["b/qemu-system-riscv64"].qemu is None
    assert "no usable QEMU" in found["b/qemu-system-riscv64"].trouble
    newest = found["debian:sid"].qemu
    assert newest is not None
    assert newest.title == "QEMU 12.0.0 (debian:sid)"
    assert [line.source for line in list_all(store, arch="x86_64")][1:] == ["debian:sid"]
