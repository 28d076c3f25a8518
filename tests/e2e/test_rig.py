# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios with a rig: the kernel's own VFIO, as a user runs it, and what its death or complaint means."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from passthru.check.guest_view import differences, recorded
from tests.e2e.harness import lines_until
from tests.e2e.test_main_job import child_pid

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.harness import Command

SCENARIOS = (
    "edu-amd",
    "edu-bridge",
    "edu-iommufd",
    "igb-vf-hotplug",
    "mtty-mdev-hotplug",
    "mtty-mdev-iommufd",
    "mtty-mdev-reboot",
    "mtty-mdev-two",
    "pci-serial-hotplug",
)
"""Those that come with passthru, but for what the others of this file run, and what is much like one of these."""

QUICK = ("--set", "check.loopback.bursts=2")


C_PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <linux/vfio.h>

int main(void)
{
	const char *path = getenv("PASSTHRU_VFIO_GROUP"), *address = getenv("PASSTHRU_DEVICE_ADDRESS");
	struct vfio_group_status status = { .argsz = sizeof(status) };
	int container, group, good;

	printf("TAP version 13\n1..3\n");
	printf("%s 1 has an address\n", address && *address ? "ok" : "not ok");
	container = open("/dev/vfio/vfio", O_RDWR);
	good = container >= 0 && ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION;
	printf("%s 2 has VFIO\n", good ? "ok" : "not ok");
	group = open(path ? path : "", O_RDWR);
	good = group >= 0 && !ioctl(group, VFIO_GROUP_GET_STATUS, &status) && (status.flags & VFIO_GROUP_FLAGS_VIABLE);
	printf("%s 3 opens its group, which is viable\n", good ? "ok" : "not ok");
	return !good;
}
"""


def host_program(tmp_path: Path, script: str) -> tuple[str, ...]:
    """Options that add the check ``host``, which runs a shell script on the rig."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return ("--set", "check.host.use=host-command", "--set", f"check.host.program={program}")


def test_the_run_directory_of_a_rig_is_whole_and_runs_again(passthru: Command) -> None:
    first = passthru("run", "mtty-mdev", *QUICK)
    assert first.status == 0, first
    for name in ("rig.log", "rig.cast", "ttyS0.log", "qemu.sh", "lock.json", "qemu.log", "qmp.log"):
        assert (first.directory / name).stat().st_size > 0, name
    phases = [event["phase"] for event in first.events("phase-ended")]
    assert phases == ["prepare", "host", "devices", "attach", "boot", "checks"]
    assert "Removing from iommu group" in (first.directory / "rig.log").read_text()
    assert first.events("worker-ended")[0]["failed"] == []
    again = passthru("run", str(first.directory))
    assert again.status == 0, again
    then, now = (json.loads((run.directory / "lock.json").read_text()) for run in (first, again))
    assert now == then
    assert now["host"]["kernel"]["release"].startswith("6.1.")


@pytest.mark.parametrize("subject", ["device", "host-kernel"])
def test_a_rig_that_is_killed_is_never_the_subject(passthru: Command, subject: str) -> None:
    with passthru.start("run", "mtty-mdev", "--set", f'subject=["{subject}"]') as process:
        lines_until(process, "passed   lspci")
        os.kill(child_pid(passthru, "rig"), signal.SIGKILL)
        ended = passthru.ended(process)
    assert ended.status == 125, ended
    assert "the rig's QEMU was killed by SIGKILL" in json.dumps(ended.findings())
    assert passthru.left_running() == []


@pytest.mark.parametrize(("subject", "status"), [("host-kernel", 1), ("device", 125)])
def test_a_panic_of_the_hosts_kernel_counts_for_the_subject(
    passthru: Command, tmp_path: Path, subject: str, status: int
) -> None:
    panic = host_program(tmp_path, "echo c >/proc/sysrq-trigger")
    ended = passthru("run", "mtty-mdev", *QUICK, *panic, "--set", f'subject=["{subject}"]')
    assert ended.status == status, ended
    assert "the host's kernel (the rig's) died: " in json.dumps(ended.findings())
    assert passthru.left_running() == []


@pytest.mark.parametrize(("subject", "status"), [("host-kernel", 1), ("device", 125)])
def test_a_complaint_of_the_hosts_kernel_counts_for_the_subject(
    passthru: Command, tmp_path: Path, subject: str, status: int
) -> None:
    script = (
        'for line in "------------[ cut here ]------------" "WARNING: CPU: 0 PID: 1 at drivers/vfio/vfio.c:1 x+0x1/0x2"'
        ' "---[ end trace 0000000000000000 ]---"; do echo "$line" >/dev/kmsg; done'
    )
    ended = passthru("run", "mtty-mdev", *QUICK, *host_program(tmp_path, script), "--set", f'subject=["{subject}"]')
    assert ended.status == status, ended
    assert "the host's kernel complained: WARNING: " in json.dumps(ended.findings())


@pytest.mark.parametrize("line", ["mtty-mdev:", "host", "devices", "passed"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_at_any_moment_leaves_nothing_of_a_rig(passthru: Command, number: signal.Signals, line: str) -> None:
    with passthru.start("run", "mtty-mdev") as process:
        lines_until(process, line)
        process.send_signal(number)
        ended = passthru.ended(process)
    assert ended.status == (-number if number is signal.SIGKILL else 130), ended
    assert passthru.left_running() == []


@pytest.mark.parametrize(
    ("overrides", "status", "told"),
    [
        (["device.mtty0.type=mtty-3"], 2, "mtty-3"),
        (["device.mtty0.parent=mdpy"], 2, "mdpy"),
        (["device.mtty0.container=iommufd"], 125, "iommufd"),
        (["host.modules=[]"], 2, "mtty"),
    ],
    ids=["type", "parent", "iommufd", "no module"],
)
def test_what_the_host_lacks_is_one_sentence(passthru: Command, overrides: list[str], status: int, told: str) -> None:
    words = [word for override in overrides for word in ("--set", override)]
    ended = passthru("run", "mtty-mdev", *words)
    assert ended.status == status, ended
    assert told in ended.stderr + json.dumps(ended.findings())
    assert ended.events("device-prepared") == []


def test_without_an_iommu_nothing_is_assigned_and_the_fix_is_told(passthru: Command) -> None:
    ended = passthru("run", "edu", "--set", "host.iommu=none")
    assert ended.status == 125, ended
    assert "IOMMU" in json.dumps(ended.findings())
    assert ended.events("device-prepared") == []


def test_one_card_two_ways_gives_the_same_view_of_it(passthru: Command) -> None:
    """mtty.ko as an mdev, and our model of it over vfio-user: lspci, setserial and the kernel's messages agree."""
    emulated, kernels = (passthru("run", name, *QUICK) for name in ("mtty", "mtty-mdev"))
    assert (emulated.status, kernels.status) == (0, 0), f"{emulated}\n{kernels}"
    compared = differences(recorded(emulated.directory, "mtty0"), recorded(kernels.directory, "mtty0"))
    assert compared.wrong == []
    assert compared.varies != []


def test_the_real_mtty_has_the_bug_of_16_bytes(passthru: Command) -> None:
    """As the model has it: see test_main_job."""
    ended = passthru("run", "mtty-mdev", "--set", "check.loopback.bytes=16")
    assert ended.status == 1, ended
    finding = ended.findings()["loopback"]
    assert finding["verdict"] == "failed"
    assert "lost" in " ".join([finding["summary"], *finding["details"]])


def test_an_iommu_that_remaps_no_interrupts_needs_a_word(passthru: Command) -> None:
    """virtio-iommu, which Debian has as a module from 6.12 on."""
    words = ("--set", "host.iommu=virtio", "--set", "host.kernel=debian:bookworm-backports")
    refused = passthru("run", "edu", *words)
    assert refused.status == 125, refused
    assert "unsafe_interrupts" in json.dumps(refused.findings())
    assert refused.events("device-prepared") == []
    allowed = passthru("run", "edu", *words, "--set", "host.unsafe_interrupts=true")
    assert allowed.status == 0, allowed


def test_a_program_in_c_is_judged_on_the_host(passthru: Command, tmp_path: Path) -> None:
    """KTAP, with the device's address, its group and its file in the environment."""
    source = tmp_path / "vfio_test.c"
    source.write_text(C_PROGRAM)
    program = tmp_path / "vfio_test"
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    options = ("--set", "check.c.use=host-command", "--set", f"check.c.program={program}")
    ended = passthru("run", "edu", *options, "--set", "check.c.device=edu0", "--set", "check.c.unplugged=true")
    assert ended.status == 0, ended
    assert ended.findings()["c"]["verdict"] == "passed"
    wrong = ("--set", 'check.c.environment={ PASSTHRU_VFIO_GROUP = "/dev/vfio/99" }')
    ended = passthru("run", "edu", *options, "--set", "check.c.device=edu0", *wrong)
    assert ended.status == 1, ended
    assert "opens its group" in json.dumps(ended.findings()["c"])


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_scenarios_that_come_with_passthru(passthru: Command, scenario: str) -> None:
    ended = passthru("run", scenario)
    assert ended.status == 0, ended
    assert {finding["verdict"] for finding in ended.findings().values()} == {"passed"}


def test_the_handles_of_a_bug_hunter(passthru: Command) -> None:
    """QEMU's traces come out of the rig with what it prints; what cannot reach into it is refused before any boot."""
    ended = passthru("run", "mtty-mdev", *QUICK, "--trace", "vfio_region_*")
    assert ended.status == 0, ended
    assert "vfio_region_write" in (ended.directory / "qemu.log").read_text()
    refused = passthru("run", "mtty-mdev", "--gdb")
    assert refused.status == 2, refused
    assert "--gdb: a guest in a rig cannot be reached by a debugger" in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("kernel", "told"), [("debian:bookworm/cloud", "mtty"), ("no/such/tree", "no/such/tree")], ids=["cloud", "none"]
)
def test_a_kernel_that_is_no_host_for_it(passthru: Command, kernel: str, told: str) -> None:
    """The cloud flavour has no mediated devices, so that mtty cannot be built for it."""
    ended = passthru("run", "mtty-mdev", "--set", f"host.kernel={kernel}")
    assert ended.status == 125, ended
    assert told in json.dumps(ended.findings())
    assert ended.events("child-started") == []
