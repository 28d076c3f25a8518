#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A test program for the host side: the device's VFIO group is viable, and its device can be had. It prints TAP.

Numbers: include/uapi/linux/vfio.h of the kernel. Any program that prints TAP, or ends with a status, would do.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

BASE = ord(";") << 8 | 100
GET_API_VERSION, CHECK_EXTENSION, SET_IOMMU, GROUP_GET_STATUS, GROUP_SET_CONTAINER = range(BASE, BASE + 5)
GROUP_GET_DEVICE_FD, DEVICE_GET_INFO = BASE + 6, BASE + 7
TYPE1 = 1
VIABLE = 1
A_PCI_DEVICE = 2


def main() -> int:
    """Four tests; the status is 4 where none of them can be run."""
    group, device = os.environ.get("PASSTHRU_VFIO_GROUP"), Path(os.environ["PASSTHRU_SYSFS"]).name
    print("TAP version 13")
    if group is None:
        print("1..0 # SKIP the device is in no group")
        return 4
    print("1..4", flush=True)
    container, opened = os.open("/dev/vfio/vfio", os.O_RDWR), os.open(group, os.O_RDWR)
    status, info = bytearray(struct.pack("II", 8, 0)), bytearray(struct.pack("6I", 24, 0, 0, 0, 0, 0))
    good = [fcntl.ioctl(container, GET_API_VERSION) == 0]
    fcntl.ioctl(opened, GROUP_GET_STATUS, status)
    good.append(bool(struct.unpack("II", status)[1] & VIABLE))
    fcntl.ioctl(opened, GROUP_SET_CONTAINER, struct.pack("i", container))
    good.append(bool(fcntl.ioctl(container, CHECK_EXTENSION, TYPE1)))
    fcntl.ioctl(container, SET_IOMMU, TYPE1)
    handle = fcntl.ioctl(opened, GROUP_GET_DEVICE_FD, bytearray(device.encode() + b"\0"), True)
    fcntl.ioctl(handle, DEVICE_GET_INFO, info)
    _, flags, regions, kinds, _, _ = struct.unpack("6I", info)
    print(f"# flags {flags:#x}, {regions} regions, {kinds} kinds of interrupts")
    good.append(bool(flags & A_PCI_DEVICE and regions >= 7))
    names = ("the version of VFIO", "the group is viable", "its IOMMU is of type 1", "it is a PCI device")
    for number, (passed, name) in enumerate(zip(good, names, strict=True), 1):
        print(f"{'ok' if passed else 'not ok'} {number} {name}")
    return 0 if all(good) else 1


sys.exit(main())
