# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.worker --fd N``: serves the framed stream on the inherited descriptor N until it ends."""

from __future__ import annotations

import sys

from passthru.worker.descriptors import tidy_standard
from passthru.worker.service import run

USAGE = "usage: python -m passthru.worker --fd N   (N: an inherited, connected stream socket)"


def main() -> int:
    """Exit status: 0 when everything was undone, 1 when something could not be, 2 for a wrong command line."""
    match sys.argv[1:]:
        case ["--fd", number] if number.isdecimal():
            try:
                fd = tidy_standard(int(number))
            except OSError as error:
                print(f"the worker cannot use descriptor {number}: {error.strerror}", file=sys.stderr)
                return 2
            return run(fd)
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
