# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command to a Management Complex of DPAA2 comes to: ``enum mc_cmd_status`` of <linux/fsl/mc.h>."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """In a command's header; a driver that has written READY waits for another one."""

    OK = 0x0
    READY = 0x1
    AUTHENTICATION_ERROR = 0x3
    NO_PRIVILEGE = 0x4
    CONFIG_ERROR = 0x6
    TIMEOUT = 0x7
    NO_RESOURCE = 0x8
    BUSY = 0xA
    UNSUPPORTED = 0xB
