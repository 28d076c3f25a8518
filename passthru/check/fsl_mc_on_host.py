# SPDX-License-Identifier: GPL-2.0-or-later
"""What restool does on a DPAA2 host to add a dpbp to a container, and to take it away: a program of that host's.

``add CONTAINER`` prints the number of the new one, ``remove CONTAINER NUMBER`` moves it back and destroys it. The
commands go through the root container's device file (CONFIG_FSL_MC_UAPI_SUPPORT). Numbers and layouts: DPRC_OPEN,
DPRC_CLOSE, DPRC_ASSIGN, DPRC_UNASSIGN, DPBP_CREATE and DPBP_DESTROY in drivers/bus/fsl-mc and restool. Standard
library only, as it is brought to the host.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path

BUS = Path("/sys/bus/fsl-mc/devices")
SEND = 0xC04052E0  # _IOWR('R', 0xE0, struct fsl_mc_command), <linux/fsl_mc.h>
HEADER = struct.Struct("<BBBBHH")  # source, hardware flags, status, software flags, token, command
PARAMETERS = 56
READY, VERSION = 1, 1
OPEN, CLOSE, ASSIGN, UNASSIGN, CREATE, DESTROY = 0x805, 0x800, 0x157, 0x158, 0x904, 0x984
EXPLICIT, PLUGGED = 1, 4  # DPRC_RES_REQ_OPT_*: an object by its name; in the state plugged
KIND = b"dpbp"


def root() -> str:
    """The root container: the one on the bus that is in no other."""
    for name in sorted(path.name for path in BUS.iterdir()):
        if name.startswith("dprc.") and not (BUS / name).resolve().parent.name.startswith("dprc."):
            return name
    raise SystemExit("this host has no DPAA2 root container; its driver fsl_mc_dprc must have it")


def send(device: int, command: int, token: int = 0, parameters: bytes = b"") -> tuple[int, bytes]:
    """The token and the parameters of the answer. Raises OSError with the kernel's errno for the status."""
    header = HEADER.pack(0, 0, READY, 0, token, command << 4 | VERSION)
    message = bytearray(header + parameters.ljust(PARAMETERS, b"\0"))
    fcntl.ioctl(device, SEND, message)
    return HEADER.unpack_from(message)[4], bytes(message[HEADER.size :])


def number_of(container: str) -> int:
    """N of dprc.N."""
    return int(container.partition(".")[2])


def main(words: list[str]) -> None:
    """The program."""
    name = root()
    device = os.open(f"/dev/{name}", os.O_RDWR)
    token, _ = send(device, OPEN, parameters=struct.pack("<I", number_of(name)))
    child = number_of(words[1])
    if words[0] == "add":
        _, answer = send(device, CREATE, token)
        number = struct.unpack_from("<I", answer)[0]
        send(device, ASSIGN, token, struct.pack("<IIII", child, EXPLICIT | PLUGGED, 1, number) + KIND)
        print(number)
    else:
        number = int(words[2])
        send(device, UNASSIGN, token, struct.pack("<IIII", child, EXPLICIT, 1, number) + KIND)
        send(device, DESTROY, token, struct.pack("<I", number))
    send(device, CLOSE, token)


if __name__ == "__main__":
    main(sys.argv[1:])
