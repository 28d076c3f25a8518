# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.vfio.conform``: see `command`."""

from __future__ import annotations

import sys

from passthru.vfio.conform.command import main

sys.exit(main(sys.argv[1:]))
