# SPDX-License-Identifier: GPL-2.0-or-later
"""Talking to a guest: its consoles, its shell with exit codes, the watch over its kernel's messages."""
