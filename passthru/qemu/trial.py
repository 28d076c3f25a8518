# SPDX-License-Identifier: GPL-2.0-or-later
"""A short guest that proves an accelerator: it boots the kernel, prints one line and is gone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from passthru.blocking import run_blocking
from passthru.deadline import Deadline
from passthru.errors import DeadlineExceeded, GuestTrouble, PassthruError
from passthru.host import ChildSpec, open_local_host
from passthru.host.output import Output, last_line
from passthru.qemu.argv import SERIAL, Vm, command_line, guest_argv, streams
from passthru.qemu.qmp import connected

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from passthru.host import Child
    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.binary import Qemu
    from passthru.qemu.qmp import Qmp, QmpEvent

FIRST_LINE = b"FIRST-LINE"
_MEMORY_MIB = 256
_MACHINES = {"aarch64": "virt", "arm": "virt"}


def first_line_under(qemu: Qemu, accelerator: Accelerator, kernel: Path, initrd: Path, seconds: float) -> str:
    """Why the guest did not get to its first line within ``seconds``, as a clause; empty if it did.

    Ends at once when QEMU exits, stops the guest (KVM internal error) or is told of a panic. Blocks.
    """
    return run_blocking(_trial(qemu, accelerator, kernel, initrd, Deadline.after(seconds)))


async def _trial(qemu: Qemu, accelerator: Accelerator, kernel: Path, initrd: Path, deadline: Deadline) -> str:
    vm = Vm(
        kernel=kernel,
        initrd=initrd,
        cmdline=command_line(*accelerator.kernel_words, arch=qemu.arch),
        machine=_MACHINES.get(qemu.arch, "pc"),
        memory_mib=_MEMORY_MIB,
        lines=(),
        arch=qemu.arch,
    )
    with Output() as output:
        spec = ChildSpec("QEMU", guest_argv(qemu, accelerator, vm), qemu.env, streams=streams(vm), output=output.path)
        try:
            async with open_local_host(deadline=Deadline.after(None)) as host:
                child = await host.start(spec)
                try:
                    return await _watch(child, output, deadline, accelerator.name.upper())
                finally:
                    with contextlib.suppress(PassthruError):
                        await child.kill()
        except PassthruError as error:
            return f"no short guest could be started under {accelerator.name.upper()}: {error}"


async def _watch(child: Child, output: Output, deadline: Deadline, name: str) -> str:
    """What became of the guest: whichever comes first."""
    seen = bytearray()
    stopped: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def look(event: QmpEvent) -> None:
        if event.name in ("STOP", "GUEST_PANICKED") and not stopped.done():
            stopped.set_result(event.name)

    awaited = "the first line of a short guest"
    try:
        async with (
            deadline.waiting_for(awaited),
            connected(child.streams["qmp"], name="QEMU", deadline=deadline) as qmp,
        ):
            qmp.watch(look)
            if (await qmp.execute("query-status"))["status"] not in ("running", "shutdown"):  # before this session
                return await _why_stopped(qmp, output, name, "at its start")
            reading = asyncio.create_task(_read_until_first_line(child.streams[SERIAL], seen))
            try:
                await asyncio.wait((reading, stopped, qmp.ended), return_when=asyncio.FIRST_COMPLETED)
                if reading.done() and FIRST_LINE in seen:
                    return ""
                if stopped.done():
                    return await _why_stopped(qmp, output, name, stopped.result())
            finally:
                reading.cancel()
                await asyncio.wait((reading,))
    except DeadlineExceeded as error:
        line = last_line(bytes(seen))
        got = f"got no further than {line!r}" if line else "printed nothing"
        return f"a short guest under {name} {got} in {error.seconds:.1f} s"
    except GuestTrouble:
        pass  # QEMU has gone: its output says why
    return await _why_gone(child, output, name)


async def _read_until_first_line(stream: socket.socket, seen: bytearray) -> None:
    loop = asyncio.get_running_loop()
    while FIRST_LINE not in seen:
        data = await loop.sock_recv(stream, 65536)
        if not data:
            return
        seen += data


async def _why_stopped(qmp: Qmp, output: Output, name: str, event: str) -> str:
    status = event
    with contextlib.suppress(PassthruError):
        status = (await qmp.execute("query-status"))["status"]
    words = output.first_line()
    return f"a short guest under {name} was stopped ({status})" + (f": {words}" if words else "")


async def _why_gone(child: Child, output: Output, name: str) -> str:
    ended = "closed its lines"
    with contextlib.suppress(PassthruError):
        ended = str(await child.wait(Deadline.after(1.0)))
    words = output.last_line()
    return f"QEMU with a short guest under {name} {ended}" + (f": {words}" if words else "")
