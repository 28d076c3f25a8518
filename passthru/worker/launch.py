# SPDX-License-Identifier: GPL-2.0-or-later
"""Starting one program: a session of its own, no foreign descriptors, no life after the worker's."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from passthru.worker.prctl import die_with_parent
from passthru.worker.protocol import UNUSABLE, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

# The number of a child's first inherited descriptor; the next ones follow. Low, since some shells take one digit only.
FIRST_INHERITED = 3

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_program(name: str, env: Mapping[str, str]) -> str:
    """The path of a program: ``name`` itself when it holds a slash, else looked up in the PATH of ``env``.

    Raises RequestError when there is none.
    """
    if "/" in name:
        return name
    path = env.get("PATH", _DEFAULT_PATH)
    for place in path.split(":"):
        candidate = f"{place or '.'}/{name}"
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):  # noqa: PTH112
            return candidate
    raise RequestError(UNUSABLE, f"there is no program {name!r} in PATH ({path}); install it or give its whole path")


def launch(
    program: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    inherited: Sequence[int],
    output: int | None,
    directory: str | None = None,
) -> int:
    """Start ``program`` and return its process id, which is its process group's and its session's as well.

    It inherits the descriptors ``inherited`` as FIRST_INHERITED and up; its standard input is empty, its output and
    error go to the descriptor ``output``, or nowhere. It runs in ``directory``, or in ours. Raises OSError with the
    errno of the step that failed.
    """
    worker = os.getpid()
    report, reporter = os.pipe2(os.O_CLOEXEC)
    # No signal may reach the child between fork and execve: it would run the worker's handlers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(program, argv, env, inherited, output, directory, worker, reporter)
    except OSError:
        os.close(report)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reporter)
    with os.fdopen(report, "rb") as pipe:
        failure = pipe.read()  # empty as soon as execve has succeeded: the pipe is close-on-exec
    if failure:
        os.waitpid(pid, 0)
        number = int(failure)
        raise OSError(number, os.strerror(number))
    return pid


def _become(
    program: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    inherited: Sequence[int],
    output: int | None,
    directory: str | None,
    worker: int,
    reporter: int,
) -> NoReturn:
    """The child's side of ``launch``."""
    failure = errno.EIO
    try:
        die_with_parent(worker)
        os.setsid()
        if directory is not None:
            os.chdir(directory)
        null = os.open(os.devnull, os.O_RDWR)
        wanted = [null, *(2 * [null if output is None else output]), *inherited]
        # First out of the way of the final numbers, so that none is overwritten before it has been copied.
        reporter, *wanted = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, len(wanted)) for fd in (reporter, *wanted))
        for number, fd in enumerate(wanted):
            os.dup2(fd, number)
        for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
            if (fd := int(name)) >= len(wanted):
                try:
                    os.set_inheritable(fd, False)
                except OSError:
                    continue  # the descriptor that listed the directory, closed by now
        signal.set_wakeup_fd(-1)
        for signum in signal.valid_signals():
            # Python ignores SIGPIPE, and ignored signals stay ignored after execve.
            if signal.getsignal(signum) not in (signal.SIG_DFL, None):
                signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(program, [*argv], env)
    except OSError as error:
        failure = error.errno or failure
    finally:
        os.write(reporter, b"%d" % failure)
        os._exit(127)


def why_not(program: str, error: OSError) -> str:
    """The clause that says why ``program`` could not be started, and what to do about it."""
    if error.errno == errno.ENOENT:
        if os.path.exists(program):  # noqa: PTH110
            return f"{program} is there, but the interpreter or loader that it names is not; install that"
        return f"there is no file {program}; check the path"
    if error.errno in (errno.EACCES, errno.EPERM):
        if os.path.isdir(program):  # noqa: PTH112
            return f"{program} is a directory; name a program"
        if os.path.exists(program) and not os.access(program, os.X_OK):  # noqa: PTH110
            return f"{program} is not executable; chmod +x it, or name another one"
        return f"this user may not run {program}, or it lies on a file system mounted noexec"
    if error.errno == errno.ENOEXEC:
        return f"{program} is no program for this machine; name another one"
    if error.errno == errno.E2BIG:
        return f"the arguments and the environment of {program} are too long; shorten them"
    return f"{program}: {error.strerror}"
