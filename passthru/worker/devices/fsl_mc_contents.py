# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects moved into a DPAA2 container and out of it, by hand; never of one that a guest holds.

A guest is told what is in its container, and nobody else may change that under it. The commands are the Management
Complex's own, sent through the root container's device file. Source: drivers/bus/fsl-mc/fsl-mc-uapi.c (which commands
it lets through), dprc.h (DPRC_ASSIGN, DPRC_UNASSIGN), <linux/fsl_mc.h>.
"""

from __future__ import annotations

import contextlib
import struct
import time

from passthru.worker.devices.assign_pci import change_driver
from passthru.worker.devices.buses import FSL_MC
from passthru.worker.devices.fsl_mc import choose, parent, remember_objects, root
from passthru.worker.devices.journal import others
from passthru.worker.devices.ledger import Ledger
from passthru.worker.devices.steps import BUSES, StepError, directory, driver_of, open_path
from passthru.worker.devices.trouble import mistake, unusable
from passthru.worker.devices.usage import uses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message

_SEND = 0xC04052E0  # _IOWR('R', 0xE0, struct fsl_mc_command)
_HEADER = struct.Struct("<BBBBHH")  # source, hardware flags, status, software flags, token, command
_PARAMETERS = 56
_READY = 1
_OPEN, _CLOSE, _ASSIGN, _UNASSIGN = 0x805, 0x800, 0x157, 0x158
_VERSION = 1
_EXPLICIT, _PLUGGED = 0x1, 0x4  # DPRC_RES_REQ_OPT_*
_RESCAN = f"{BUSES}/{FSL_MC}/rescan"
_SECONDS, _LOOK_AGAIN_SECONDS = 2.0, 0.01


def add(system: System, object_: str, container: str, ours: set[str]) -> Message:
    """Move an object from the container above into ``container``; ``ours`` is what this worker prepared. Raises Blocked
    where it is in use, or the container held."""
    target = choose(system, container)
    above = _above(system, target)
    _demand_free(system, target, object_, ours)
    kind, number = _parsed(object_)
    if parent(system, object_) != above:
        raise mistake(f"{object_} is not in {above}, from which {target} gets its objects", "move it there first")
    _demand_unused(system, object_)
    with _without_driver(system, target), _opened(system, target, object_) as commands:
        commands.move(_ASSIGN, above, kind, number, 0)  # unplugged where it is, so that its driver lets go of it
        _look_again(system)
        _wait_until_released(system, object_)
        commands.move(_ASSIGN, target, kind, number, _PLUGGED)
        _look_again(system)
    return {"object": object_, "container": target, "before": above}


def remove(system: System, object_: str, container: str, ours: set[str]) -> Message:
    """Move an object of ``container`` into the one above, unplugged. Raises Blocked."""
    source = choose(system, container)
    above = _above(system, source)
    _demand_free(system, source, object_, ours)
    kind, number = _parsed(object_)
    with _without_driver(system, source), _opened(system, source, object_) as commands:
        commands.move(_UNASSIGN, source, kind, number, 0)
        _look_again(system)
    return {"object": object_, "container": above, "before": source}


@contextlib.contextmanager
def _without_driver(system: System, container: str) -> Iterator[None]:
    """Take a container from its driver meanwhile, journaled.

    Else Linux adds the object where it comes to while it still has it where it was, and complains (device_add:
    -EEXIST), as containers tell of changes each for itself.
    """
    _demand_unused(system, container)
    ledger = Ledger(system)
    common = {"owner": f"by hand {container}", "resource": "", "bus": FSL_MC}
    try:
        for step in (*remember_objects(system, container), *change_driver(system, container, None, FSL_MC)):
            ledger.do({**step, **common})
        yield
    finally:
        failed = ledger.undo_since(0)
        ledger.close()
        if failed:
            raise StepError(f"{'; '.join(failed)}; `passthru recover` tries again")


def _demand_unused(system: System, name: str) -> None:
    if used := uses(system, name, FSL_MC):
        raise mistake(f"{name} is in use by the host: {'; '.join(used)}", "free it first")


def holder(system: System, container: str, ours: set[str]) -> str | None:
    """Who holds a container for a guest, in words; None where nobody does."""
    if container in ours:
        return "it is prepared for a guest"
    if (pid := others(system).get(container)) is not None:
        return f"another passthru, process {pid}, has prepared it for a guest"
    if (driver_of(system, container, FSL_MC) or "").startswith("vfio"):
        path = open_path(system, directory(FSL_MC, container))
        if path is not None:
            pids = ", ".join(map(str, system.holders(path)))
            return f"{f'process {pids} has' if pids else 'somebody has'} {path} open"
    return None


def _above(system: System, container: str) -> str:
    above = parent(system, container)
    assert above is not None, container  # the root is never chosen
    return above


def _demand_free(system: System, container: str, object_: str, ours: set[str]) -> None:
    if (who := holder(system, container, ours)) is not None:
        raise mistake(
            f"{container} is held by a guest ({who}), so {object_} is moved neither into it nor out of it",
            "end that guest first",
        )


def _parsed(object_: str) -> tuple[str, int]:
    kind, _, number = object_.partition(".")
    if not number.isdecimal() or not kind.startswith("dp") or kind == "dprc":
        raise mistake(f"{object_!r} names no object of a container", 'write its type and number ("dpbp.1")')
    return kind, int(number)


def _look_again(system: System) -> None:
    """Have Linux look what is in the root containers."""
    with contextlib.suppress(OSError):  # then an interrupt tells of the root as well, unless the kernel is too old
        system.write(_RESCAN, "1")


def _wait_until_released(system: System, object_: str) -> None:
    """Raises Blocked where Linux does not take an unplugged object from its driver."""
    end = time.monotonic() + _SECONDS
    while driver := driver_of(system, object_, FSL_MC):
        if time.monotonic() > end:
            raise unusable(f"{object_} is unplugged, but {driver} does not let go of it", "see `dmesg`")
        time.sleep(_LOOK_AGAIN_SECONDS)


class _Commands:
    """Commands to the Management Complex with the token of one container."""

    def __init__(self, system: System, fd: int, container: int) -> None:
        self._system = system
        self._fd = fd
        self._token = 0
        self._token = self._send(_OPEN, struct.pack("<I", container))

    def move(self, command: int, container: str, kind: str, number: int, options: int) -> None:
        """DPRC_ASSIGN or DPRC_UNASSIGN of one object, ``container`` being the child (or, in place, itself)."""
        words = struct.pack("<IIII", _parsed_container(container), options | _EXPLICIT, 1, number)
        self._send(command, words + kind.encode().ljust(16, b"\0"))

    def close(self) -> None:
        self._send(_CLOSE, b"")

    def _send(self, command: int, parameters: bytes) -> int:
        """The token in the answer. Raises OSError with the kernel's errno for the status."""
        header = _HEADER.pack(0, 0, _READY, 0, self._token, command << 4 | _VERSION)
        data = bytearray(header + parameters.ljust(_PARAMETERS, b"\0"))
        self._system.ioctl(self._fd, _SEND, data)
        token: int = _HEADER.unpack_from(data)[4]
        return token


def _parsed_container(container: str) -> int:
    return int(container.partition(".")[2])


@contextlib.contextmanager
def _opened(system: System, container: str, object_: str) -> Iterator[_Commands]:
    """The container above ``container``, open at the Management Complex. Raises Blocked where a command is refused."""
    file = f"/dev/{root(system, container)}"
    try:
        with system.opened(file) as fd:
            commands = _Commands(system, fd, _parsed_container(_above(system, container)))
            try:
                yield commands
            finally:
                commands.close()
    except OSError as error:
        raise unusable(
            f"the Management Complex ({file}) moves {object_} neither into {container} nor out of it: {error.strerror}",
            f"run as root, and see whether {object_} is there (`restool dprc show {container}`)",
        ) from error
