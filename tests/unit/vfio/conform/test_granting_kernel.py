# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of containers, address spaces and KVM against a kernel that grants whatever it is asked: each of them fails.

It has every ioctl, refuses none, and changes no structure: whoever passes there has demanded no more than that
something is possible, and fails where the kernel refuses everything.
"""

from __future__ import annotations

import errno
import os
import random
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import linux_kvm as kvm
from passthru.vfio import linux_vfio_container as vfio
from passthru.vfio.conform.bench import Bench
from passthru.vfio.conform.case import Case, Failed, Missing
from passthru.vfio.conform.registry import all_tests
from passthru.vfio.kernel.kvm import VirtualMachine
from passthru.vfio.kernel.target import KernelTarget, Way
from passthru.vfio.malformed import Malformed
from tests.unit.vfio.conform.made_device import made_facts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from passthru.vfio.conform.registry import Test

_OPENS = (vfio.VFIO_GROUP_GET_DEVICE_FD, kvm.KVM_CREATE_VM)
_TOPICS = ("container", "iommu", "dma", "dirty", "noiommu", "iommufd", "external_user")
_WAYS: dict[str, Way] = {"noiommu": "noiommu", "iommufd": "iommufd"}
# What is demanded of these comes from elsewhere: from sysfs, by a module's parameter, from a server, by what is told.
_NOT_OF_THE_KERNEL = {
    "groups-without-an-iommu-are-named-so",
    "iova-ranges-leave-reserved-regions-out",
    "iova-ranges-are-in-order",
    "mappings-left-are-counted",
    "addresses-outside-of-the-ranges-are-not-mapped",
    "what-is-mapped-is-whole-pages",
    "no-more-is-mapped-than-the-limit",
    "no-more-is-mapped-than-the-server-takes",
}
_POSSIBLE = {
    "memory-is-mapped-and-unmapped",
    "parts-of-memory-are-mapped-next-to-each-other",
    "closing-a-device-unbinds-it",
    "kvm-takes-a-group-without-a-container",
    "kvm-lets-go-of-a-group",
}


def _tests() -> list[Test]:
    return [test for test in all_tests() if test.topic in _TOPICS and test.name not in _NOT_OF_THE_KERNEL]


@pytest.fixture
def refuses() -> list[int]:
    """The errno of all ioctls; granted while it is empty."""
    return []


@pytest.fixture
def granting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: list[int]) -> Iterator[Path]:
    """A file in whose place the kernel's own are opened, where every ioctl is granted."""
    file = tmp_path / "granting"
    file.touch()

    def ioctl(descriptor: int, number: int, argument: int | bytearray = 0) -> int:
        os.fstat(descriptor)
        if refuses and number != kvm.KVM_CREATE_VM:
            raise OSError(refuses[0], os.strerror(refuses[0]))
        if number in _OPENS:
            return os.dup(descriptor)
        if number == kvm.KVM_CREATE_DEVICE and isinstance(argument, bytearray):
            argument[4:8] = os.dup(descriptor).to_bytes(4, "little")
        return int(isinstance(argument, int))  # VFIO_CHECK_EXTENSION, and a wrong version

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    create = VirtualMachine.create
    monkeypatch.setattr(VirtualMachine, "create", lambda: create(str(file)))
    yield file


@pytest.mark.parametrize("test", _tests(), ids=lambda test: test.name)
def test_it_demands_something(test: Test, granting: Path, refuses: list[int]) -> None:
    if test.name in _POSSIBLE:
        _run(test, granting)
        refuses.append(errno.EPERM)
    with pytest.raises((Failed, Malformed, OSError, Missing)) as caught:
        _run(test, granting)
    assert not isinstance(caught.value, Missing), f"it judges nothing: {caught.value}"


def _run(test: Test, granting: Path) -> None:
    way: Way = next((_WAYS[word] for word in test.needs if word in _WAYS), "type1v2")
    path = str(granting)
    target = KernelTarget("0000:00:05.0", way, path, path, path, path)
    bench = Bench(target, lambda _: None)
    with Case(bench, made_facts(kernel="7.2.12", container=way), random.Random(1)) as case:
        try:
            test.body(case)
        finally:
            bench.drop()
