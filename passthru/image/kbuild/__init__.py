# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel modules built out of tree, for the kernel in use, by that kernel's own build (Documentation/kbuild)."""
