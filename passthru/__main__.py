# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru``: the same as the ``passthru`` command."""

from passthru.cli import main

main()
