# SPDX-License-Identifier: GPL-2.0-or-later
"""The conformance suite on the kernel's own bus drivers: vfio-pci and mtty.ko, by each way to them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import lines_until
from tests.unit.worker.kill_tests import assert_same

if TYPE_CHECKING:
    from tests.e2e.harness import Command
    from tests.e2e.rig.local import Local

OWN = str(Path(__file__).with_name("own.toml"))
UUID = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1cc1"
IN_RIG = pytest.mark.asyncio(loop_scope="session")
MANY = 60
"""Fewer tests than any device passes; how many there are is the suite's matter."""


async def judged(inside: Local, *words: str, status: int = 0) -> dict[str, str]:
    """Run the suite on this device of the rig, as its local host; what each test came to."""
    ended = await inside("conform", *words)
    assert ended.status == status, ended.stdout.decode()
    judgements = [event["judgement"] for event in await inside.events("check-ended")]
    return {judgement["check"]: judgement["finding"]["verdict"] for judgement in judgements}


def conforms(found: dict[str, str]) -> bool:
    """Whether a device conforms."""
    return set(found.values()) == {"passed", "skipped"} and list(found.values()).count("passed") >= MANY


@IN_RIG
@pytest.mark.parametrize("hardware", ["edu", "serial", "nic"])
async def test_vfio_pci_by_type1_on_debians_kernel(inside: Local, hardware: str) -> None:
    """The device is bound for the time of the suite, and given back."""
    before = await inside.rig.snapshot()
    assert conforms(await judged(inside, inside.rig.address(hardware)))
    assert_same(before, await inside.rig.snapshot(), "the suite has judged")


@IN_RIG
async def test_mtty_that_was_made_by_hand_stays(inside: Local) -> None:
    before = await inside.rig.snapshot()
    await inside.succeed("mdev", "create", "mtty", "mtty-2", "--uuid", UUID)
    assert conforms(await judged(inside, UUID))
    assert UUID in await inside.succeed("mdev", "list")
    await inside.succeed("mdev", "remove", UUID)
    assert_same(before, await inside.rig.snapshot(), "it was removed")


@IN_RIG
async def test_what_was_bound_by_hand_stays_so(inside: Local) -> None:
    before = await inside.rig.snapshot()
    address = inside.rig.address("edu")
    await inside.succeed("bind", address)
    found = await judged(inside, address, "--only", "container", "--container", "type1v2")
    assert set(found.values()) == {"passed"}
    (suite,) = await inside.events("suite-started")
    assert suite["title"].endswith("by type1v2")
    assert "vfio-pci" in await inside.succeed("unbind", address)
    assert_same(before, await inside.rig.snapshot(), "it was unbound")


@IN_RIG
async def test_a_harness_that_is_killed_leaves_the_device_as_it_was(inside: Local) -> None:
    before = await inside.rig.snapshot()
    await inside.forget()
    run = await inside.start("conform", inside.rig.address("edu"), "--only", "dma_by_device")
    await inside.until("suite-started")
    (worker,) = await inside.events("worker-started")
    await run.signal(signal.SIGKILL)
    await inside.rig.wait_for_end(worker["pid"])
    assert_same(before, await inside.rig.snapshot(), "its harness was killed")


@IN_RIG
async def test_what_stands_in_the_way_is_told(inside: Local) -> None:
    found = await inside("conform", "00:1e.7")
    assert found.status == 2
    assert "there is no PCI device 0000:00:1e.7" in found.stdout.decode()
    found = await inside("conform", inside.rig.address("edu"), "--container", "iommufd")
    assert found.status == 125
    assert "has no iommufd" in found.stdout.decode()
    found = await inside("conform", inside.rig.address("edu"), "--container", "noiommu")
    assert found.status == 2
    assert "an IOMMU translates for 0000:00:05.0" in found.stdout.decode()


def test_our_own_kernel_by_iommufd_and_type1v2(passthru: Command) -> None:
    ended = passthru("conform", "--rig", OWN, "--format", "json")
    assert ended.status == 0, ended
    told = json.loads(ended.stdout)
    by_device: dict[str, dict[str, str]] = {}
    for test in told["tests"]:
        device, _, name = test["name"].partition("/")
        by_device.setdefault(device, {})[name] = test["verdict"]
    assert list(by_device) == ["edu0", "serial0", "nic0", "mtty0"]
    assert all(map(conforms, by_device.values()))
    assert told["used"]["device nic0"].startswith("0000:01:00.0 by iommufd (kernel ")
    assert not (ended.directory / "qemu.log").exists()  # there was no guest


def test_without_an_iommu(passthru: Command) -> None:
    words = ("--set", "host.kernel=own", "--set", "host.iommu=none", "--container", "noiommu")
    ended = passthru("conform", "--rig", "edu", *words)
    assert ended.status == 0, ended
    found = {check: finding["verdict"] for check, finding in ended.findings().items()}
    assert conforms(found)
    (prepared,) = ended.events("device-prepared")
    assert prepared["group"] == "noiommu-0"


def test_debians_kernel_has_nothing_without_an_iommu(passthru: Command) -> None:
    ended = passthru("conform", "--rig", "edu", "--set", "host.iommu=none", "--container", "noiommu")
    assert ended.status == 125, ended
    (finding,) = ended.findings().values()
    assert (finding["verdict"], finding["facts"]["capability"]) == ("skipped", "noiommu")


BREAKS = "index-disabled-signals-nothing"
"""What mtty of 6.1 frees an eventfd twice by: known, so skipped unless that is asked for."""


def test_a_kernel_that_the_suite_breaks_is_named_with_the_test(passthru: Command) -> None:
    """What it does to that kernel differs: where it only warns, that is made its death."""
    only = ("--only", BREAKS, "--only", "info", "--only", "malformed")
    words = ("--dangerous", *only, "--set", "host.cmdline=panic_on_warn=1")
    ended = passthru("conform", "--rig", "mtty-mdev", *words)
    assert ended.status == 1, ended
    found = ended.findings()
    assert found[BREAKS]["verdict"] == "failed"
    assert found[BREAKS]["summary"].startswith("the host's kernel (the rig's) died: ")
    assert found["device-info-is-stable"]["verdict"] == "passed"
    assert list(found)[-2:] == [BREAKS, "run"]
    assert found["run"]["summary"].endswith(f" tests could not be judged: the host was lost in {BREAKS}")


@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "host"), (signal.SIGKILL, "suite")])
def test_nothing_is_left_of_a_rig(passthru: Command, number: signal.Signals, line: str) -> None:
    with passthru.start("conform", "--rig", "edu") as process:
        lines_until(process, line)
        process.send_signal(number)
        ended = passthru.ended(process)
    assert ended.status == (-number if number is signal.SIGKILL else 130), ended
    assert passthru.left_running() == []
