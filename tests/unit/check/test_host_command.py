# SPDX-License-Identifier: GPL-2.0-or-later
"""The check host-command: what the program is given, and the device that is taken out of the guest for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from passthru.check.context import Context
from passthru.check.finding import Finding, Verdict
from passthru.check.host_command import Options
from passthru.check.registry import judge
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, UserMistake
from tests.unit.check.harness import Answer, device
from tests.unit.check.plugged import FakeMachine, PluggedGuest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FACTS = {"bus": "pci", "address": "0000:00:05.0", "group": "7", "vfio_group": "/dev/vfio/7", "sysfs": "/sys/x"}
MTTY = device()


@dataclass
class FakeHost:
    """Ends every program with ``ends``; ``ran`` are its arguments and environments, ``out`` whether each time the guest
    had the device."""

    guest: PluggedGuest
    ends: Answer | Exception = field(default_factory=lambda: Answer(b"1..1\nok 1 a\n"))
    known: Mapping[str, str] = field(default_factory=lambda: FACTS)
    ran: list[tuple[list[str], dict[str, str]]] = field(default_factory=list)
    had: list[bool] = field(default_factory=list)

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: Deadline) -> Answer:
        self.had.append(self.guest.there)
        self.ran.append((list(argv), dict(env)))
        if argv[0] == "/bin/sh":
            return Answer()
        if isinstance(self.ends, Exception):
            raise self.ends
        return self.ends

    def path_of(self, local: Path) -> str:
        return f"/passthru/files/{local.name}"

    def facts(self, device: str) -> Mapping[str, str]:
        return self.known if device == MTTY.id else {}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "probe"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


async def found(program: Path, host: FakeHost, machine: FakeMachine | None = None, **table: Any) -> Finding:
    options = Options.model_validate({"use": "host-command", "program": str(program), "patience": 0.2, **table})
    context = Context(
        host.guest,
        MTTY if options.device else None,
        Deadline.after(20),
        machine=machine,
        devices={MTTY.id: MTTY},
        host=host,
    )
    return await judge(context, options)


async def test_the_program_is_given_its_device(program: Path) -> None:
    host = FakeHost(PluggedGuest())
    (program.parent / "data").mkdir()
    finding = await found(
        program,
        host,
        device=MTTY.id,
        files=(str(program.parent / "data"),),
        arguments=("-g", "{vfio_group}", "{address}", "{files.0}/x", "{other}"),
        environment={"VFIO_SELFTESTS_BDF": "{address}"},
    )
    assert finding.verdict is Verdict.PASSED, finding
    ((argv, environment),) = host.ran
    assert argv == [
        "/passthru/files/probe",
        "-g",
        "/dev/vfio/7",
        "0000:00:05.0",
        "/passthru/files/data/x",
        "{other}",
    ]
    assert environment == {
        "PASSTHRU_BUS": "pci",
        "PASSTHRU_DEVICE": "mtty0",
        "PASSTHRU_DEVICE_ADDRESS": "0000:00:05.0",
        "PASSTHRU_IOMMU_GROUP": "7",
        "PASSTHRU_VFIO_GROUP": "/dev/vfio/7",
        "PASSTHRU_SYSFS": "/sys/x",
        "VFIO_SELFTESTS_BDF": "0000:00:05.0",
    }
    assert host.had == [True]
    assert finding.facts["output"] == ["1..1", "ok 1 a"]
    assert finding.facts["tests"] == {"passed": 1, "failed": 0, "skipped": 0, "failed as expected": 0}


async def test_it_runs_without_a_device_too(program: Path) -> None:
    host = FakeHost(PluggedGuest(), Answer(b"", b"", 1))
    finding = await found(program, host, format="exit")
    assert (finding.verdict, finding.summary) == (
        Verdict.FAILED,
        "probe on the host: it ended with status 1",
    )
    assert host.ran == [(["/passthru/files/probe"], {})]


async def test_a_fact_that_the_host_does_not_have_is_a_missing_capability(program: Path) -> None:
    host = FakeHost(PluggedGuest())
    finding = await found(program, host, device=MTTY.id, arguments=("{cdev}",))
    assert (finding.verdict, host.ran) == (Verdict.SKIPPED, [])
    assert finding.facts == {"capability": "cdev of mtty0 on the host"}


async def test_without_a_hand_on_the_host_it_is_skipped(program: Path) -> None:
    context = Context(PluggedGuest(), MTTY, Deadline.after(20))
    finding = await judge(context, Options(use="host-command", program=str(program)))
    assert finding.verdict is Verdict.SKIPPED
    assert finding.facts == {"capability": "a hand on the host"}


async def test_a_program_that_does_not_end_fails_with_its_last_lines(program: Path) -> None:
    host = FakeHost(PluggedGuest(), DeadlineExceeded("host-1-probe to exit", 3.0, ("ok 1",)))
    finding = await found(program, host)
    assert (finding.verdict, finding.details) == (Verdict.FAILED, ("ok 1",))
    assert finding.summary == "probe did not end within 3.0 s on the host"


async def test_the_device_can_be_taken_out_of_the_guest_for_it(program: Path) -> None:
    host = FakeHost(PluggedGuest())
    machine = FakeMachine(host.guest)
    finding = await found(program, host, machine, device=MTTY.id, unplugged=True)
    assert finding.verdict is Verdict.PASSED, finding
    assert machine.asked == ["remove mtty0", "add mtty0"]
    # First somebody looks that nobody holds the device's files any more.
    assert [argv[3:] for argv, _ in host.ran] == [["sh", "/dev/vfio/7"], []]
    assert host.had == [False, False]


async def test_it_is_put_back_whatever_becomes_of_the_program(program: Path) -> None:
    host = FakeHost(PluggedGuest(), UserMistake("no such program"))
    machine = FakeMachine(host.guest)
    with pytest.raises(UserMistake):
        await found(program, host, machine, device=MTTY.id, unplugged=True)
    assert machine.asked == ["remove mtty0", "add mtty0"]


async def test_a_device_that_does_not_come_back_as_it_was_fails(program: Path) -> None:
    host = FakeHost(PluggedGuest())
    machine = FakeMachine(host.guest, adding=lambda guest: setattr(guest, "driver", None))
    finding = await found(program, host, machine, device=MTTY.id, unplugged=True)
    assert finding.verdict is Verdict.FAILED
    assert finding.summary.startswith("after it, the guest sees 0000:00:05.0 again, but no driver is bound")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"program": "/nowhere/probe"}, "is no file"),
        ({"files": ("/nowhere",)}, "is not there"),
        ({"unplugged": True}, 'names no "device"'),
        ({"arguments": ("{address}",)}, 'names no "device"'),
        ({"environment": {"X": "{files.0}"}}, "where files has 0"),
        ({"format": "xml"}, "Input should be"),
        ({"skips": (0,)}, "greater than"),
    ],
)
def test_options_that_cannot_work_are_refused(program: Path, table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Options.model_validate({"use": "host-command", "program": str(program), **table})


def test_a_program_must_be_executable_and_is_brought(program: Path) -> None:
    options = Options(use="host-command", program=str(program), files=(str(program.parent),))
    assert options.brings == (str(program), str(program.parent))
    program.chmod(0o644)
    with pytest.raises(ValidationError, match="chmod"):
        Options(use="host-command", program=str(program))
