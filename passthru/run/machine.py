# SPDX-License-Identifier: GPL-2.0-or-later
"""The hand on a guest's machine that checks are given, over QMP: devices out and in, and its reset.

Sources: QEMU's docs/interop/qemu-qmp-ref (device_del, device_add, DEVICE_DELETED, DEVICE_UNPLUG_GUEST_ERROR,
set-action, system_reset, RESET) and softmmu/qdev-monitor.c for the words of its refusals.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

from passthru.check.machine import Refused
from passthru.errors import DeadlineExceeded, MissingCapability, PassthruError
from passthru.qemu.qmp import QmpRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from passthru.check.machine import How
    from passthru.deadline import Deadline
    from passthru.guest.guest import Guest
    from passthru.qemu.qmp import Qmp, QmpEvent

LAST_WORDS = 0.2
"""Seconds between a refusal of QEMU's and the error made of it: a device server that has died is the better reason, and
its end may still be on its way."""

_NO_HOTPLUG = "does not support hot"


class QemuMachine:
    """The machine of ``guest``; ``argv`` is what its QEMU was started with, and is added with again."""

    def __init__(self, qmp: Qmp, guest: Guest, argv: Sequence[str]) -> None:
        self._qmp = qmp
        self._guest = guest
        self._arguments = device_arguments(argv)

    async def remove(self, device: str, deadline: Deadline) -> None:
        """Ask the guest to let a device go, and wait until QEMU has deleted it; see ``check.machine.Machine``."""

        def ours(event: QmpEvent) -> bool:
            names = ("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
            return event.name in names and event.data.get("device") == device

        async with self._next(ours) as seen:
            await self._execute("device_del", {"id": device}, deadline)
            async with deadline.waiting_for(f"the guest to let {device} go", self._guest.kernel_log.last_lines):
                event = await self._guest.troubles.guard(seen)
        if event.name != "DEVICE_DELETED":
            raise Refused(f"the guest refuses to let it go, as QEMU says ({event.name})")

    async def add(self, device: str, deadline: Deadline) -> None:
        """Plug a removed device in again; see ``check.machine.Machine``."""
        if device not in self._arguments:
            raise MissingCapability("hot-plug", f"nobody knows the arguments with which {device} was plugged in")
        await self._execute("device_add", self._arguments[device], deadline)

    async def reboot(self, how: How, deadline: Deadline) -> None:
        """Reboot the guest and wait for its agent; see ``check.machine.Machine``. QEMU runs with -no-reboot."""
        await self._execute("set-action", {"reboot": "reset"}, deadline)

        def reset(event: QmpEvent) -> bool:
            if event.name == "RESET":
                self._guest.restarted()  # also for the firmware's own reset, which may follow
            return event.name == "RESET"

        try:
            async with self._next(reset) as seen:
                if how == "guest":
                    await self._guest.reboot()
                else:
                    await self._execute("system_reset", {}, deadline)
                async with deadline.waiting_for("the reset of its machine", self._guest.kernel_log.last_lines):
                    await self._guest.troubles.guard(seen)
                await self._guest.ready(deadline.remaining / deadline.scale)
        finally:
            with contextlib.suppress(PassthruError):
                await self._qmp.execute("set-action", {"reboot": "shutdown"})

    @contextlib.asynccontextmanager
    async def _next(self, wanted: Callable[[QmpEvent], bool]) -> AsyncIterator[asyncio.Future[QmpEvent]]:
        """The first event from now on that is wanted; each one is looked at as long as this is open."""
        found: asyncio.Future[QmpEvent] = asyncio.get_running_loop().create_future()

        def seen(event: QmpEvent) -> None:
            if wanted(event) and not found.done():
                found.set_result(event)

        unwatch = self._qmp.watch(seen)
        try:
            yield found
        finally:
            unwatch()
            found.cancel()

    async def _execute(self, command: str, arguments: Mapping[str, Any], deadline: Deadline) -> None:
        try:
            await self._guest.troubles.guard(self._qmp.execute(command, arguments, deadline))
        except DeadlineExceeded as error:
            raise Refused(str(error)) from error
        except QmpRefused as refusal:
            if _NO_HOTPLUG in refusal.description:
                raise MissingCapability(
                    "a hot-plug slot",
                    f"QEMU cannot take the device out where it is: {refusal.description}; the first bus of"
                    ' guest.machine = "pc" can',
                ) from refusal
            await self._guest.troubles.guard(asyncio.sleep(LAST_WORDS))
            raise Refused(str(refusal)) from refusal


def device_arguments(argv: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The devices among QEMU's arguments by id, as device_add takes them.

    A QEMU that was not given JSON is older than 6.2, and its device_add takes each value as the text that it was.
    """
    given = (value for option, value in itertools.pairwise(argv) if option == "-device")
    found = (json.loads(value) if value.startswith("{") else _of_text(value) for value in given)
    return {properties["id"]: properties for properties in found if "id" in properties}


def _of_text(value: str) -> dict[str, Any]:
    """``DRIVER,KEY=VALUE,...``, where a comma in a value is doubled."""
    driver, *settings = (part.replace("\0", ",") for part in value.replace(",,", "\0").split(","))
    return {"driver": driver, **dict(setting.partition("=")[::2] for setting in settings)}
