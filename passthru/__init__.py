# SPDX-License-Identifier: GPL-2.0-or-later
"""passthru boots QEMU guests with passed-through devices and judges, from inside the guest, whether it works."""
