# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: one module a command, and here what they share: the program's name, errors and exit codes."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import sys
import traceback
from pathlib import Path

MISTAKE, NOT_JUDGED, INTERRUPTED = 2, 125, 130
READER_GONE = 141
"""As a shell tells of a program that SIGPIPE ended (``passthru list | head -1``)."""
BISECTION_STOPS = 128
"""What ``git bisect run`` takes as the end of the bisection; 2 would blame the commit for the user's mistake."""


def main() -> None:
    """Entry point of the ``passthru`` command."""
    # What is imported stays: to look through it for garbage, again and again, is a part of a short run's time.
    gc.disable()
    _take_what_was_closed()
    stdout = sys.stdout
    try:
        _command()
    except SystemExit as end:
        if end.code == MISTAKE and "--bisect" in sys.argv:
            raise SystemExit(BISECTION_STOPS) from None
        if end.code == 1 and sys.stdout is not stdout:
            # Typer replaces it when the reader of our output went away, and says 1: that would be a verdict.
            _listen_no_more()
            raise SystemExit(READER_GONE) from None
        if end.code == INTERRUPTED:
            _leave_interrupted()
        raise


def _command() -> None:
    from passthru.cli.app import app
    from passthru.errors import PassthruError

    gc.freeze()
    gc.enable()
    try:
        app(prog_name="passthru")
    except PassthruError as error:
        _say(f"passthru: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("passthru: interrupted")
        sys.exit(INTERRUPTED)
    except Exception as error:
        if isinstance(error, FileNotFoundError) and _is_nowhere():
            _say("passthru: the current directory does not exist any more; change to another one")
            sys.exit(NOT_JUDGED)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _listen_no_more()
            _say(f"passthru: the disk is full at {error.filename or 'the output of this command'}; make room there")
            sys.exit(NOT_JUDGED)
        # A fault of ours is no verdict: Python's own exit status 1 would say that a check failed.
        _say(f"passthru: a fault of passthru itself, please report it:\n{traceback.format_exc()}")
        sys.exit(NOT_JUDGED)


def _leave_interrupted() -> None:
    """Exit with our own status.

    Of `python -m passthru` Python makes a death by SIGINT, whatever its exit status should be, where a
    KeyboardInterrupt has ever gone through exec() of a text (unhandled_keyboard_interrupt in Python/pythonrun.c), as
    making dataclasses is while modules are imported.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(INTERRUPTED)


def _take_what_was_closed() -> None:
    from passthru.worker.descriptors import fill_standard

    fill_standard()
    # Python has None for a standard stream that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _listen_no_more() -> None:
    """Python flushes standard output once more at exit, and would complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _is_nowhere() -> bool:
    """Whether the current directory was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
