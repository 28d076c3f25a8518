# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU: found and asked, given an accelerator and arguments, spoken to over QMP."""
