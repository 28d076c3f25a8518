# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations on a device, a batch at a time, and what came of each: for a kernel's device and for a server's alike.

Also the program that carries them out on mtty.ko in a rig: a batch is a line of JSON on a stream, its answers are one
too, and an empty one ends it. Standard library and passthru.vfio only.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passthru.vfio.device import VfioDevice

EVENTFDS = 2
"""The eventfds that SET_IRQS can be given, by number; each is signalled by one index at a time."""
PARENT = Path("/sys/class/mtty/mtty")


def perform(device: VfioDevice, operations: list[list[int | str]]) -> list[list[int | str]]:
    """What comes of each operation, with how often each eventfd was signalled by it.

    ["read", region, offset, size] gives the bytes in hexadecimal, ["write", region, offset, bytes] their number,
    ["set_irqs", flags, index, start, count, bytes, numbers of eventfds or -1 ...] an empty text; a refusal its errno.
    """
    device.info()  # until mtty.ko was asked for it, it takes no interrupt's number for a valid one
    eventfds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(EVENTFDS)]
    try:
        return [[_outcome(device, operation, eventfds), *map(_signals, eventfds)] for operation in operations]
    finally:
        for eventfd in eventfds:
            os.close(eventfd)


def _outcome(device: VfioDevice, operation: list[int | str], eventfds: list[int]) -> str:
    try:
        return _done(device, operation, eventfds)
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _done(device: VfioDevice, operation: list[int | str], eventfds: list[int]) -> str:
    match operation:
        case ["read", int(region), int(offset), int(size)]:
            return device.read(region, offset, size).hex()
        case ["write", int(region), int(offset), str(data)]:
            return str(device.write(region, offset, bytes.fromhex(data)))
        case ["set_irqs", int(flags), int(index), int(start), int(count), str(bools), *numbers]:
            descriptors = [eventfds[int(number)] if int(number) >= 0 else -1 for number in numbers]
            device.set_irqs(flags, index, start, count, bools=bytes.fromhex(bools), descriptors=descriptors)
            return ""
    raise ValueError(f"no operation: {operation}")


def _signals(eventfd: int) -> int:
    try:
        return os.eventfd_read(eventfd)
    except BlockingIOError:
        return 0


def main(stream: int, kind: str) -> None:
    """Carry out batches on mdevs of mtty's type ``kind``, a new one for each."""
    from passthru.vfio.targets import target_of

    with socket.socket(fileno=stream) as connection, connection.makefile("rw", encoding="ascii") as lines:
        while batch := json.loads(lines.readline() or "[]"):
            identity = str(uuid.uuid4())
            (PARENT / "mdev_supported_types" / kind / "create").write_text(identity)
            try:
                group = (Path("/sys/bus/mdev/devices") / identity / "iommu_group").resolve().name
                target = {"transport": "kernel", "name": identity, "group": f"/dev/vfio/{group}", "container": "type1"}
                opened = target_of(target).open()
                try:
                    answers = perform(opened.device, batch)
                finally:
                    opened.close()
            finally:
                (Path("/sys/bus/mdev/devices") / identity / "remove").write_text("1")
            lines.write(json.dumps(answers) + "\n")
            lines.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
