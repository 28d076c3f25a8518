# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM or TCG: trials with a program that plays a QEMU whose KVM works, or dies, or hangs."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from passthru.errors import Unusable, UserMistake
from passthru.events import Event, Progress
from passthru.qemu import identity, probe
from passthru.qemu.accelerator import choose, here, kvm, remember, tcg
from passthru.qemu.binary import Candidate, Qemu
from passthru.qemu.processor import SLOWER

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from tests.unit.qemu.conftest import StandIn

    Trial = Callable[[str], tuple[StandIn, Qemu]]


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """Opens like /dev/kvm."""
    path = tmp_path / "kvm"
    path.touch()
    return path


@pytest.fixture
def trial(stand_in: Callable[..., StandIn], store: Store) -> Trial:
    """A QEMU of this machine's architecture, asked already; trial guests under it end as said."""

    def make(ending: str) -> tuple[StandIn, Qemu]:
        program = stand_in(arch=platform.machine(), machines=["pc", "virt"], trial=ending)
        path = str(program.path)
        return program, probe.ask(Candidate(path, (path,), identity.of_file(program.path)), store)

    return make


def initrd() -> Path:
    return Path("/the/floor.cpio")


def no_initrd() -> Path:
    raise AssertionError("nothing is to be built where there is no trial")


def test_kvm_where_a_guest_ran_and_no_second_trial(
    trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path
) -> None:
    program, qemu = trial("first-line")
    chosen = choose("auto", qemu, kernel, initrd, store, told.append, device=device)
    assert (chosen.name, chosen.scale) == ("kvm", 1.0)
    assert "/the/floor.cpio" in program.starts[-1]
    assert [event.finished for event in told if isinstance(event, Progress)] == [False, True]
    other = replace(kernel, identity="kernel-2")
    for wanted in ("auto", "kvm"):
        for one in (kernel, other):
            assert choose(wanted, qemu, one, no_initrd, store, told.append, device=device).name == "kvm"
    assert len(program.starts) == 2  # it was asked what it can do, and tried


def test_tcg_where_the_trial_guest_cannot_be_made(
    trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path
) -> None:
    """A cache that was filled where there is no KVM, carried to a machine with one and without network."""

    def unreachable() -> Path:
        raise Unusable("Debian could not be reached")

    _, qemu = trial("first-line")
    chosen = choose("auto", qemu, kernel, unreachable, store, told.append, device=device)
    assert chosen.name == "tcg"
    assert "Debian could not be reached" in chosen.reason
    with pytest.raises(Unusable, match="Debian could not be reached"):
        choose("kvm", qemu, kernel, unreachable, store, told.append, device=device)
    assert choose("auto", qemu, kernel, initrd, store, told.append, device=device).name == "kvm", "not remembered"


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("stop", r"^a short guest under KVM was stopped \(internal-error\): KVM internal error\. Suberror: 1$"),
        ("exit", r"^QEMU with a short guest under KVM exited with status 1: could not set up the processor$"),
    ],
)
def test_tcg_at_once_where_the_guest_died(
    ending: str, reason: str, trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path
) -> None:
    program, qemu = trial(ending)
    # A deadline that never comes: what ends the trial is what happened.
    chosen = choose("auto", qemu, kernel, initrd, store, told.append, device=device, seconds=600.0)
    assert (chosen.name, chosen.scale) == ("tcg", 3.0)
    assert re.search(reason, chosen.reason)
    assert choose("auto", qemu, kernel, no_initrd, store, told.append, device=device) == chosen
    assert len(program.starts) == 2
    with pytest.raises(Unusable, match=r"KVM is asked for and cannot be used: .*; leave it to passthru with --accel"):
        choose("kvm", qemu, kernel, no_initrd, store, told.append, device=device)
    # Another kernel may fare better.
    choose("auto", qemu, replace(kernel, identity="kernel-2"), initrd, store, told.append, device=device)
    assert len(program.starts) == 3


def test_tcg_where_the_guest_hangs(trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path) -> None:
    _, qemu = trial("silence")
    chosen = choose("auto", qemu, kernel, initrd, store, told.append, device=device, seconds=0.5)
    assert chosen.name == "tcg"
    assert chosen.reason.startswith("a short guest under KVM printed nothing in 0.")


def test_what_a_later_run_learned_counts_for_this_boot(
    trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, qemu = trial("first-line")
    assert choose("auto", qemu, kernel, initrd, store, told.append, device=device).name == "kvm"
    remember(store, qemu, kernel, "KVM died under the guest")
    assert (
        choose("auto", qemu, kernel, no_initrd, store, told.append, device=device).reason == "KVM died under the guest"
    )
    monkeypatch.setattr("passthru.qemu.accelerator.of_this_boot", lambda: "the next boot")
    assert choose("auto", qemu, kernel, initrd, store, told.append, device=device).name == "kvm"


def test_nothing_is_tried_where_it_is_plain(
    qemu: Qemu, kernel: Kernel, store: Store, told: list[Event], device: Path, tmp_path: Path
) -> None:
    qemu = replace(qemu, arch=platform.machine())

    def reason(qemu: Qemu = qemu, device: Path = device) -> str:
        return choose("auto", qemu, kernel, no_initrd, store, told.append, device=device).reason

    assert reason(device=tmp_path / "none") == f"this machine has no {tmp_path}/none"
    assert reason(device=tmp_path) == f"{tmp_path} cannot be opened: Is a directory"
    assert "was built without KVM" in reason(replace(qemu, accelerators=frozenset({"tcg"})))
    assert reason(replace(qemu, arch="s390x")) == f"the guest is s390x and this machine is {platform.machine()}"
    assert choose("tcg", qemu, kernel, no_initrd, store, told.append).name == "tcg"
    with pytest.raises(UserMistake, match="no accelerator 'xen'; take one of auto, kvm, tcg"):
        choose("xen", qemu, kernel, no_initrd, store, told.append)
    assert told == []


EMULATED = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: QEMU TCG CPU version 2.5+\n"
"""The processor of a rig under TCG, which emulates AMD's SVM."""


@pytest.fixture
def processors(tmp_path: Path) -> Path:
    """The processors of an emulated machine."""
    path = tmp_path / "cpuinfo"
    path.write_text(EMULATED)
    return path


def test_a_machine_that_is_itself_emulated_is_slower_and_gives_its_guests_the_sound_processor(
    trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path, processors: Path
) -> None:
    """Newer guest kernels crash with the host's model under the SVM that TCG emulates."""
    program, qemu = trial("first-line")
    chosen = choose("auto", qemu, kernel, initrd, store, told.append, device=device, processors=processors)
    assert (chosen.name, chosen.reason) == ("kvm", "a short guest ran under KVM")
    assert chosen.args == ("-accel", "kvm", "-cpu", "qemu64")
    assert chosen.args[-1] in program.starts[-1], "the trial guest was another one"
    assert "tsc=unstable" in chosen.kernel_words
    asked = choose("tcg", qemu, kernel, initrd, store, told.append, device=device, processors=processors)
    assert asked.args == tcg().args
    assert tcg().scale < chosen.scale < asked.scale


def test_the_trial_waits_longer_on_an_emulated_machine(
    trial: Trial, kernel: Kernel, store: Store, told: list[Event], device: Path, processors: Path
) -> None:
    _, qemu = trial("silence")
    chosen = choose(
        "auto", qemu, kernel, initrd, store, told.append, device=device, processors=processors, seconds=0.05
    )
    assert (chosen.name, chosen.scale) == ("tcg", tcg().scale * SLOWER)
    assert re.search(r"printed nothing in 1\.\d s", chosen.reason)


@pytest.mark.parametrize(
    "text", ["", "processor\t: 0\n", "model name\t: QEMU Virtual CPU version 2.5+\n", "Features\t: QEMU TCG CPU\n"]
)
def test_any_other_machine_is_a_real_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert here(kvm(), tmp_path / "cpuinfo") == kvm()
    assert here(tcg(), tmp_path / "missing") == tcg()
