# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m passthru.worker --fd N``: serves the framed stream on the inherited descriptor N until it ends.

Inside a rig it is ``--port NAME``: the stream is the virtio-serial port NAME.
"""

from __future__ import annotations

import sys

from passthru.worker.descriptors import fill_standard, tidy_standard
from passthru.worker.devices.options import take_options
from passthru.worker.service import run, run_on_port

USAGE = (
    "usage: python -m passthru.worker --fd N | --port NAME"
    "   (N: an inherited, connected stream socket; NAME: a virtio-serial port;"
    " for tests: --roots DIR, --stop-before STEP, --stop-after STEP)"
)


def main() -> int:
    """Exit status: 0 when everything was undone, 1 when something could not be, 2 for a wrong command line."""
    try:
        words, make_system = take_options(sys.argv[1:])
    except ValueError as error:
        print(f"{error}; {USAGE}", file=sys.stderr)
        return 2
    match words:
        case ["--fd", number] if number.isdecimal():
            try:
                fd = tidy_standard(int(number))
            except OSError as error:
                print(f"the worker cannot use descriptor {number}: {error.strerror}", file=sys.stderr)
                return 2
            return run(fd, make_system)
        case ["--port", name]:
            fill_standard()
            try:
                return run_on_port(name, make_system)
            except OSError as error:
                print(f"the worker cannot use the port {name}: {error.strerror}", file=sys.stderr)
                return 2
        case _:
            print(USAGE, file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
