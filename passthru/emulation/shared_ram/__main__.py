# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.emulation.shared_ram``: the devices of a machine's shared RAM."""

from __future__ import annotations

import sys

from passthru.emulation.shared_ram import command


def main() -> int:
    """The command, with the arguments of this process."""
    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
