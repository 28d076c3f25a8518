#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""An object that the Management Complex gets while Linux runs is found on its bus, by an interrupt, and goes again.

It is made in dprc.2, which the driver of the bus has; one that VFIO has tells its user alone. Commands as they are
in drivers/bus/fsl-mc and restool: DPRC_OPEN, DPBP_CREATE, DPBP_DESTROY, DPRC_CLOSE.
"""

import fcntl
import os
import struct
import sys
import time
from pathlib import Path

ROOT, CONTAINER = "dprc.1", "dprc.2"
SEND = 0xC04052E0  # _IOWR('R', 0xE0, struct fsl_mc_command), <linux/fsl_mc.h>
HEADER = struct.Struct("<BBBBHH")  # source, hardware flags, status, software flags, token, command
READY, VERSION = 1, 1
OPEN, CLOSE, CREATE, DESTROY = 0x805, 0x800, 0x904, 0x984
SECONDS = 20.0


def send(device: int, command: int, token: int = 0, parameters: bytes = b"") -> "tuple[int, bytes]":
    """The token and the parameters of the answer. Raises OSError with the kernel's errno for the status."""
    header = HEADER.pack(0, 0, READY, 0, token, command << 4 | VERSION)
    message = bytearray(header + parameters.ljust(56, b"\0"))
    fcntl.ioctl(device, SEND, message)
    return HEADER.unpack_from(message)[4], bytes(message[HEADER.size :])


def interrupts() -> int:
    """How many the container has had, on all processors."""
    lines = Path("/proc/interrupts").read_text().splitlines()
    rows = [line.split() for line in lines if line.rstrip().endswith(CONTAINER)]
    return sum(int(word) for row in rows for word in row[1:] if word.isdecimal())


def until(there: bool, path: Path) -> bool:
    """Wait until ``path`` is there, or is not."""
    end = time.monotonic() + SECONDS
    while path.exists() != there:
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def main() -> int:
    """Print TAP; 1 where something did not come."""
    results = []
    before = interrupts()
    device = os.open(f"/dev/{ROOT}", os.O_RDWR)
    token, _ = send(device, OPEN, parameters=struct.pack("<I", int(CONTAINER.partition(".")[2])))
    _, answer = send(device, CREATE, token)
    number = struct.unpack_from("<I", answer)[0]
    path = Path(f"/sys/bus/fsl-mc/devices/dpbp.{number}")
    results.append((until(True, path), f"dpbp.{number} was made in {CONTAINER}, and Linux has it"))
    came = interrupts() - before
    results.append((came > 0, f"{CONTAINER} told of it by an interrupt ({came} came)"))
    send(device, DESTROY, token, struct.pack("<I", number))
    results.append((until(False, path), f"dpbp.{number} was destroyed, and Linux has it no more"))
    send(device, CLOSE, token)
    os.close(device)
    print(f"1..{len(results)}")
    for count, (right, text) in enumerate(results, 1):
        print(f"{'ok' if right else 'not ok'} {count} - {text}")
    return 0 if all(right for right, _ in results) else 1


sys.exit(main())
