# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel that passthru builds itself, from Debian's source, where Debian's own kernels lack what a rig needs."""
