# SPDX-License-Identifier: GPL-2.0-or-later
"""A device behind a vfio-user socket, as its client sees it: blocking, fast, and strict about what comes back."""
