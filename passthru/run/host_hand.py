# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand on the host that checks are given: programs that its worker runs, each with its output in a file."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from passthru.errors import DeadlineExceeded, PassthruError, UserMistake
from passthru.host import ChildSpec, Exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.deadline import Deadline
    from passthru.host import Host

_LAST_LINES = 10
_LONGEST_NAME = 32


class Assigned(Protocol):
    """What is known of a device that was prepared on its host."""

    @property
    def qemu(self) -> Mapping[str, str]:
        """The properties by which QEMU takes it: ``host`` or ``sysfsdev``."""

    @property
    def bus(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def uuid(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def cdev(self) -> str | None: ...
    @property
    def driver(self) -> str | None: ...


async def unguarded(awaited: Awaitable[Exit]) -> Exit:
    """Nothing ends the wait but what is awaited."""
    return await awaited


Guard = Callable[[Awaitable[Exit]], Awaitable[Exit]]


def facts_of(assigned: Assigned) -> dict[str, str]:
    """A prepared device as checks know it (``check.host_hand.FACTS``)."""
    address = assigned.uuid or assigned.address
    found = {
        "bus": assigned.bus,
        "address": address,
        "uuid": assigned.uuid,
        "group": assigned.group,
        "vfio_group": f"/dev/vfio/{assigned.group}" if assigned.group else None,
        "cdev": assigned.cdev,
        "sysfs": assigned.qemu.get("sysfsdev") or f"/sys/bus/{assigned.bus}/devices/{address}",
        "driver": assigned.driver,
    }
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class Ended:
    """How a program on the host ended; see ``check.context.Completed``."""

    stdout: bytes
    status: int
    stderr: bytes = b""


class HostPrograms:
    """Programs on ``host``, whose outputs go to files in ``directory``; see ``check.host_hand.HostHand``."""

    def __init__(
        self, host: Host, directory: Path, devices: Mapping[str, Mapping[str, str]], guard: Guard = unguarded
    ) -> None:
        """``devices`` is what is known of each assigned device on the host, by its id (``facts_of``).

        ``guard`` ends a wait by what befell the host or its guest meanwhile.
        """
        self._guard = guard
        self._host = host
        self._directory = directory
        self._devices = devices
        self._numbers = itertools.count(1)

    async def run(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: Deadline) -> Ended:
        """Run a program to its end; whatever it leaves behind is killed. See ``HostHand``."""
        base = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(argv[0]).name)[:_LONGEST_NAME].strip("-")
        name = f"host-{next(self._numbers)}-{base}".rstrip("-")
        output = self._directory / f"{name}.log"
        child = await self._host.start(ChildSpec(name, tuple(argv), env=env, output=output))
        try:
            end = await self._guard(child.wait(deadline))
        except DeadlineExceeded as error:
            await child.kill()
            last = (await _read(output)).decode(errors="replace").splitlines()[-_LAST_LINES:]
            raise DeadlineExceeded(error.awaited, error.seconds, last) from error
        except asyncio.CancelledError:
            await child.kill()
            raise
        await child.kill()
        return Ended(await _read(output), -end.signal if end.signal is not None else end.code or 0)

    def path_of(self, local: Path) -> str:
        """Where the host has a file of this machine. Raises UserMistake where it was not brought in."""
        try:
            return self._host.path_of(local)
        except PassthruError as error:
            raise UserMistake(f"{local} is not on the host: {error}") from error

    def facts(self, device: str) -> Mapping[str, str]:
        """What the host knows of a device; nothing of one that it does not own."""
        return self._devices.get(device, {})


async def _read(output: Path) -> bytes:
    def read() -> bytes:
        return output.read_bytes() if output.exists() else b""

    return await asyncio.to_thread(read)
