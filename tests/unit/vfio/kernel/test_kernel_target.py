# SPDX-License-Identifier: GPL-2.0-or-later
"""Targets by their JSON, and openings that fail half-way."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from passthru.vfio.kernel.container import Container
from passthru.vfio.kernel.device import KernelDevice
from passthru.vfio.kernel.group import Group
from passthru.vfio.kernel.target import KernelTarget, OpenedByGroup
from passthru.vfio.linux_vfio_container import VFIO_GROUP_GET_DEVICE_FD
from passthru.vfio.targets import target_of
from tests.unit.vfio.kernel.fake_ioctl import FakeIoctl

if TYPE_CHECKING:
    from pathlib import Path

GROUP = {"transport": "kernel", "name": "0000:00:05.0", "group": "/dev/vfio/3", "container": "type1"}
FILE = {"transport": "kernel", "name": "0000:00:05.0", "cdev": "/dev/vfio/devices/vfio0", "container": "iommufd"}


@pytest.mark.parametrize("way", ["type1", "type1v2", "noiommu"])
def test_a_device_by_its_group(way: str) -> None:
    target = target_of(GROUP | {"container": way})
    assert isinstance(target, KernelTarget)
    assert (target.transport, target.group, target.cdev) == ("kernel", "/dev/vfio/3", "")
    assert target.title == f"0000:00:05.0 by {way}"


def test_a_device_by_its_file_and_one_with_both() -> None:
    target = target_of(FILE | {"group": "/dev/vfio/3"})
    assert isinstance(target, KernelTarget)
    assert (target.way, target.group, target.cdev) == ("iommufd", "/dev/vfio/3", "/dev/vfio/devices/vfio0")
    assert target_of(FILE).title == "0000:00:05.0 by iommufd"


def test_a_device_server() -> None:
    target = target_of({"transport": "vfio-user", "socket": "/run/device.sock"})
    assert target.transport == "vfio-user"
    assert "/run/device.sock" in target.title


@pytest.mark.parametrize(
    ("described", "sentence"),
    [
        ({}, "transport is kernel or vfio-user, not None"),
        ({"transport": "smoke"}, "not 'smoke'"),
        ({"transport": "vfio-user"}, "the path of its socket, not by None"),
        (GROUP | {"container": "type2"}, "one of type1, type1v2, noiommu, iommufd, not 'type2'"),
        (GROUP | {"container": "iommufd"}, "by iommufd needs its cdev"),
        (FILE | {"container": "type1"}, "by type1 needs its group"),
        (GROUP | {"name": ""}, "by type1 needs its name"),
        (GROUP | {"group": 3}, "group of a kernel's device is no text: 3"),
    ],
)
def test_what_describes_no_target(described: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        target_of(described)


@pytest.mark.parametrize("missing", ["container", "group", "nothing"])
def test_what_was_opened_is_closed_where_the_rest_is_refused(tmp_path: Path, missing: str) -> None:
    paths = {name: tmp_path / name for name in ("container", "group")}
    for name, path in paths.items():
        if name != missing:
            path.touch()
    target = KernelTarget("0000:00:05.0", "type1", str(paths["group"]), container=str(paths["container"]))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(OSError, match=r"No such file|Inappropriate ioctl") as raised:
        target.open()
    assert raised.value.errno == (errno.ENOTTY if missing == "nothing" else errno.ENOENT)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


@pytest.mark.parametrize("missing", ["iommufd", "cdev", "nothing"])
def test_what_was_opened_by_file_is_closed_where_the_rest_is_refused(tmp_path: Path, missing: str) -> None:
    paths = {name: tmp_path / name for name in ("iommufd", "cdev")}
    for name, path in paths.items():
        if name != missing:
            path.touch()
    target = KernelTarget("0000:00:05.0", "iommufd", cdev=str(paths["cdev"]), iommufd=str(paths["iommufd"]))
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(OSError, match=r"No such file|Inappropriate ioctl") as raised:
        target.open()
    assert raised.value.errno == (errno.ENOTTY if missing == "nothing" else errno.ENOENT)
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_neighbours_are_closed_with_the_device() -> None:
    kernel = FakeIoctl()
    group, other = Group(kernel.descriptor()), os.memfd_create("neighbour")
    kernel.answers[VFIO_GROUP_GET_DEVICE_FD] = lambda _: other
    opened = OpenedByGroup(KernelDevice(kernel.descriptor()), None, group, Container(kernel.descriptor()))
    neighbour = opened.neighbour("dpio.0")
    assert neighbour.fileno() == other
    assert kernel.asked[-1] == (VFIO_GROUP_GET_DEVICE_FD, b"dpio.0\0")
    assert neighbour.transcript is group.descriptor.transcript
    opened.close()
    assert neighbour.fileno() == opened.device.fileno() == -1
