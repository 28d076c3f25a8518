# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.emulation.fsl_mc_bridge``: a container of the host for a guest."""

from __future__ import annotations

import sys

from passthru.emulation.fsl_mc_bridge import command


def main() -> int:
    """The command, with the arguments of this process."""
    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
