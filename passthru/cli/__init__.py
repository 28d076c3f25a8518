# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one module a command, and here what they share: the program's name, errors and exit codes."""

from __future__ import annotations

import contextlib
import os
import sys


def main() -> None:
    """Entry point of the ``passthru`` command."""
    _take_what_was_closed()
    from passthru.cli.app import app
    from passthru.errors import PassthruError

    try:
        app(prog_name="passthru")
    except PassthruError as error:
        _say(f"passthru: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("passthru: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away (``passthru list | head -1``); Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)


def _take_what_was_closed() -> None:
    from passthru.worker.descriptors import fill_standard

    fill_standard()
    # Python has None for a standard stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)

