# SPDX-License-Identifier: GPL-2.0-or-later
"""A device server of others that ends with its client, as many do: started anew, so that the next client finds one.

The suite comes and goes. A server that ends by itself, with status 0, has done what it is meant to; one that ends in
any other way has died, and whoever judges says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import PassthruError
from passthru.run.companions import end_before
from passthru.worker.listening import remove_left_over

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.host import Child, ChildSpec, Host

PATIENCE = 2.0
"""Seconds that a server may take to listen again, for a client that comes back."""
_SOCKET = re.compile(r"\{socket:[^{}]*\}")


class KeptServer:
    """The server; ``child`` is the one that runs now, or ran last."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.times = 1

    async def keep(self, host: Host, spec: ChildSpec) -> None:
        """Start it anew whenever it has ended by itself, until it dies or cannot be started. Raises WorkerLost."""
        while (await self.child.wait()).code == 0:
            for path in _sockets(spec, self.child):
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(remove_left_over, str(path))
            self.child = await host.start(spec)
            self.times += 1


@contextlib.asynccontextmanager
async def kept(server: KeptServer, host: Host, spec: ChildSpec) -> AsyncIterator[None]:
    """Keep a server that runs already, and whose first process others end."""
    first = server.child
    task = asyncio.ensure_future(server.keep(host, spec))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, PassthruError):
            await task
        if server.child is not first:
            await end_before(server.child)


def _sockets(spec: ChildSpec, child: Child) -> list[Path]:
    """Where it listened: what it left there keeps some from listening again."""
    found = list(spec.makes)
    for word, real in zip(spec.argv, child.argv, strict=True):
        if match := _SOCKET.search(word):
            found.append(Path(real[match.start() : len(real) - (len(word) - match.end())]))
    return found
