# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of the copy engine, by their offsets; `models.copy_engine` has the table. Here for who only drives one."""

from __future__ import annotations

IDENTIFICATION = 0x01004350
ID, RESETS, SOURCE, DESTINATION, COUNT = 0x00, 0x04, 0x08, 0x10, 0x18
COMMAND, RESULT, FAULT, TRANSFERRED = 0x20, 0x24, 0x28, 0x30
CAUSES, ACKNOWLEDGE, RAISE, RESET = 0x38, 0x3C, 0x40, 0x44
START, INTERRUPT = 0x1, 0x2
