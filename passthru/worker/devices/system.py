# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine whose devices are handled: its files under one root, which tests inject, and its kernel's modules.

Paths are given as the machine calls them ("/sys/bus/pci/devices/..."), and the root is put before them here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_libc = ctypes.CDLL(None, use_errno=True)
_MODPROBE_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin"


class System:
    """Access to one machine. ``before`` and ``after`` are called around each journaled step with its number, from 1:
    tests end the process there."""

    def __init__(
        self,
        root: str = "",
        state: str | None = None,
        before: Callable[[int], None] | None = None,
        after: Callable[[int], None] | None = None,
    ) -> None:
        self.root = root.rstrip("/")
        self.state = state or default_state(self.root)
        self._before = before
        self._after = after
        self._steps = 0

    def path(self, path: str) -> str:
        """Where a path of the machine's really is."""
        return self.root + path

    def exists(self, path: str) -> bool:
        """Whether there is such a file, directory or link that leads somewhere."""
        return os.path.exists(self.path(path))  # noqa: PTH110

    def read(self, path: str) -> str | None:
        """The text of a file without the blanks around it, None where it cannot be read."""
        try:
            with open(self.path(path), "rb") as file:  # noqa: PTH123
                return file.read().decode(errors="replace").strip()
        except OSError:
            return None

    def write(self, path: str, text: str) -> None:
        """Write to a file that exists, in one write(2), as sysfs wants it. Raises OSError."""
        fd = os.open(self.path(path), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted; none where it cannot be read."""
        try:
            return sorted(os.listdir(self.path(path)))  # noqa: PTH208
        except OSError:
            return []

    def link(self, path: str) -> str | None:
        """The last name of what a symbolic link leads to; None where there is no link."""
        target = self.target(path)
        return None if target is None else target.rpartition("/")[2]

    def target(self, path: str) -> str | None:
        """What a symbolic link says, None where there is none."""
        try:
            return os.readlink(self.path(path))  # noqa: PTH115
        except OSError:
            return None

    def real(self, path: str) -> str:
        """The path with all links followed."""
        return os.path.realpath(self.path(path)).removeprefix(os.path.realpath(self.root or "/").rstrip("/"))

    def may(self, path: str, mode: int) -> bool:
        """Whether this process may read or write (os.R_OK, os.W_OK) a file."""
        return os.access(self.path(path), mode)

    def step_begins(self) -> None:
        """A step is journaled and about to be done or undone."""
        self._steps += 1
        if self._before:
            self._before(self._steps)

    def step_ended(self) -> None:
        """That step is done or undone, and nothing is written about it yet."""
        if self._after:
            self._after(self._steps)

    @property
    def boot(self) -> str:
        """The id of this boot of the kernel: what was done to another boot's has gone with it."""
        return self.read("/proc/sys/kernel/random/boot_id") or "unknown"

    @property
    def release(self) -> str:
        """The kernel's release, by which its modules are found."""
        return self.read("/proc/sys/kernel/osrelease") or os.uname().release

    @property
    def version(self) -> tuple[int, int]:
        """The first two numbers of the kernel's release."""
        numbers = re.findall(r"[0-9]+", self.release)
        return int(numbers[0]), int(numbers[1])

    def claimed(self, path: str) -> bool:
        """Whether opening a device says that somebody has it for himself (EBUSY): a VFIO group, a mounted disk."""
        mode = os.O_RDWR if path.startswith("/dev/vfio/") else os.O_RDONLY | os.O_EXCL
        try:
            fd = os.open(self.path(path), mode | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            return error.errno == errno.EBUSY
        os.close(fd)
        return False

    def holders(self, path: str) -> list[int]:
        """The processes that have a file open, as far as this one may see it; slow, so for error messages."""
        wanted = self.path(path)
        found = []
        for name in self.names("/proc"):
            if name.isdecimal():
                for fd in self.names(f"/proc/{name}/fd"):
                    if self.target(f"/proc/{name}/fd/{fd}") == wanted:
                        found.append(int(name))
                        break
        return found

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """The descriptor of a device file, for ``ioctl``. Raises OSError."""
        fd = os.open(self.path(path), os.O_RDWR | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def ioctl(self, fd: int, request: int, data: bytearray) -> None:
        """ioctl(2), which reads and writes ``data``. Raises OSError."""
        import fcntl

        fcntl.ioctl(fd, request, data, True)

    def load_module(self, name: str, parameters: Mapping[str, str]) -> None:
        """Load a module and what it needs. Raises OSError whose text is what modprobe said."""
        words = ["modprobe", "--", name, *(f"{key}={value}" for key, value in parameters.items())]
        status, said = run(words)
        if status != 0:
            raise OSError(errno.ENOENT, said or f"modprobe {name} ended with status {status}")

    def unload_module(self, name: str) -> None:
        """Unload one module, at once or not at all. Raises OSError (EWOULDBLOCK, EBUSY: it is in use)."""
        if _libc.delete_module(name.encode(), ctypes.c_uint(os.O_NONBLOCK)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def default_state(root: str) -> str:
    """The directory of the journals: /run/passthru for root, else the user's own runtime directory."""
    if os.getuid() == 0:
        return f"{root}/run/passthru"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and not root:
        return f"{runtime}/passthru"
    return f"{root}/tmp/passthru-journal-{os.getuid()}"


def run(argv: list[str]) -> tuple[int, str]:
    """Run a program of the machine's to its end; returns its status and what it printed, both outputs."""
    program = next(
        (f"{place}/{argv[0]}" for place in _MODPROBE_PATH.split(":") if os.access(f"{place}/{argv[0]}", os.X_OK)),
        None,
    )
    if program is None:
        raise OSError(errno.ENOENT, f"there is no program {argv[0]}; install it (Debian: kmod)")
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            program,
            argv,
            {"PATH": _MODPROBE_PATH, "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, write, 1),
                (os.POSIX_SPAWN_DUP2, write, 2),
            ],
        )
        os.close(write)
        write = -1
        said = b""
        while part := os.read(read, 4096):
            said += part
        status = 255
        with contextlib.suppress(ChildProcessError):
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(read)
        if write >= 0:
            os.close(write)
    return status, " ".join(said.decode(errors="replace").split())
