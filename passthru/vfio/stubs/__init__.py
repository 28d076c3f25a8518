# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a device do something, one module a device: what a driver author writes for his own is as these are."""
