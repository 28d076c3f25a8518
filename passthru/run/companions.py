# SPDX-License-Identifier: GPL-2.0-or-later
"""What stands beside QEMU: a server for each device, one of ours or a companion of others, and where it listens.

A server of ours is handed a socket that listens already. One of others makes its own, so it is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passthru.errors import DeadlineExceeded, GuestTrouble, PassthruError, Unusable
from passthru.host import ChildSpec
from passthru.host.python import lean_command
from passthru.qemu.script import Companion
from passthru.scenario.device_models import locate
from passthru.worker.listening import remove_left_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.deadline import Deadline
    from passthru.host import Child, Host
    from passthru.run.directory import RunDirectory
    from passthru.scenario.models import CompanionSpec, Scenario, ServedDevice


@contextlib.asynccontextmanager
async def device_servers(
    scenario: Scenario, directory: RunDirectory, host: Host, deadline: Deadline, *, traced: bool = True
) -> AsyncIterator[dict[str, Child]]:
    """Start the servers of all devices that need one; gives them by device, each of them listening.

    ``traced``: those of ours write their messages into ``directory``, as only one on this machine can.

    Those of others are asked to end (SIGTERM) before they are killed, since they may have something to clean up. Raises
    Unusable for a program that cannot be started, a socket that is taken, and one that nobody listens at; GuestTrouble
    of the device for a companion that ends or does not listen in time.
    """
    for name, device in scenario.served.items():
        await _look_first(host, name, device.companion)
    children: dict[str, Child] = {}
    foreign = {name: device.companion for name, device in scenario.served.items() if device.companion}
    try:
        for name, device in scenario.served.items():
            if (spec := server_spec(name, device, directory, host, traced=traced)) is not None:
                children[name] = await host.start(spec)
        for name in children.keys() & foreign.keys():
            limit = deadline.narrowed(foreign[name].timeout)
            await _until_listening(host, children[name], foreign[name], limit, directory.output(name))
        yield children
    finally:
        await asyncio.gather(*(end_before(children[name]) for name in children.keys() & foreign.keys()))


@contextlib.asynccontextmanager
async def device_server(
    name: str, device: ServedDevice, directory: RunDirectory, host: Host, deadline: Deadline, *, traced: bool = True
) -> AsyncIterator[Child | None]:
    """Start the server of one device, for as long as it is wanted; gives None where it runs already.

    ``name`` is that of its socket and its output, and may be another one each time. Raises as ``device_servers``.
    """
    companion = device.companion
    if companion is not None and companion.socket is not None and companion.command:
        with contextlib.suppress(OSError):  # of the one before, which may have been killed
            await asyncio.to_thread(remove_left_over, companion.socket)
    await _look_first(host, name, companion)
    spec = server_spec(name, device, directory, host, traced=traced)
    if spec is None:
        yield None
        return
    child = await host.start(spec)
    try:
        if companion is not None:
            limit = deadline.narrowed(companion.timeout)
            await _until_listening(host, child, companion, limit, directory.output(name))
        yield child
    finally:
        await end_before(child)


async def end_before(child: Child) -> None:
    """End a child while others still run: QEMU before its companions, companions before the worker."""
    with contextlib.suppress(PassthruError):  # the worker has gone, and the child with it
        await child.stop()


async def others(scenario: Scenario, host: Host) -> dict[str, asyncio.Future[None]]:
    """For each device whose server ran already: what is done when that has ended. Another user's is not seen."""
    found = {}
    for name, device in scenario.served.items():
        companion = device.companion
        if companion is not None and companion.socket is not None and not companion.command:
            gone = await host.watch_listener(companion.socket)
            if gone is not None:
                found[name] = gone
    return found


def socket_of(name: str, device: ServedDevice) -> str:
    """Where the server of a device listens: the name of one of the worker's sockets, or a path."""
    return (device.companion.socket if device.companion else None) or name


def by_hand(scenario: Scenario) -> list[Companion]:
    """The servers of all devices for ``qemu.sh``; those that run already are not among them."""
    found = []
    for name, device in scenario.served.items():
        companion = device.companion
        if companion is None:
            found.append(Companion(name, (*lean_command(*_server(device)), "--socket", f"{{socket:{name}}}")))
        elif companion.command:
            found.append(
                Companion(name, _words(name, companion), directory=companion.directory, socket=companion.socket)
            )
    return found


def last_words(output: Path) -> str:
    """The last line that a program printed, as the end of a sentence."""
    with contextlib.suppress(OSError):
        lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f'; it last said: "{lines[-1]}"'
    return ""


def server_spec(
    name: str, device: ServedDevice, directory: RunDirectory, host: Host, *, traced: bool = True
) -> ChildSpec | None:
    """The server of a device as it is started; None where it runs already."""
    companion = device.companion
    if companion is None:
        trace = ("--trace", str(directory.trace(name))) if traced else ()
        return ChildSpec(
            name=name,
            argv=(*host.own_command(*_server(device)), *trace, "--listen-fd", f"{{listen:{name}}}"),
            listens=(name,),
            output=directory.output(name),
        )
    if not companion.command:
        return None
    return ChildSpec(
        name=name,
        argv=_words(name, companion),
        directory=Path(companion.directory) if companion.directory else None,
        makes=(Path(companion.socket),) if companion.socket else (),
        output=directory.output(name),
    )


def _server(device: ServedDevice) -> tuple[str, ...]:
    """The module and the arguments of a device server of ours, without the socket that it listens at."""
    return ("passthru.emulation", *locate(device.model).words, "--options", json.dumps(device.options))


def _words(name: str, companion: CompanionSpec) -> tuple[str, ...]:
    return tuple(word.replace("{socket}", companion.socket or f"{{socket:{name}}}") for word in companion.command)


async def _look_first(host: Host, name: str, companion: CompanionSpec | None) -> None:
    """A socket at a path of the user's is taken, or is not, before anything is started."""
    if companion is None or companion.socket is None:
        return
    taken = await host.is_listening(companion.socket)
    if taken and companion.command:
        raise Unusable(
            f"the companion {name} cannot listen at {companion.socket}, where somebody listens already; leave out its"
            " command to use that server, or name another socket"
        )
    if not taken and not companion.command:
        raise Unusable(
            f"nobody listens at {companion.socket}, the socket of the device {name}; start its server first, or give"
            " companion.command"
        )


async def _until_listening(
    host: Host, child: Child, companion: CompanionSpec, deadline: Deadline, output: Path
) -> None:
    where = companion.socket or "the socket that it was given"
    socket = companion.socket or f"{{socket:{child.name}}}"
    waiting = asyncio.ensure_future(host.listening(socket, f"the device server {child.name}", deadline))
    either: set[asyncio.Future[Any]] = {waiting, child.exited}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            end = await child.wait()  # raises where the worker has gone
            raise GuestTrouble(
                "device", f"the device server {child.name} {end} before it listened at {where}{last_words(output)}"
            )
        waiting.result()
    except DeadlineExceeded as error:
        raise GuestTrouble(
            "device",
            f"the device server {child.name} did not listen at {where} in {error.seconds:.1f} s{last_words(output)}",
        ) from error
    finally:
        waiting.cancel()
