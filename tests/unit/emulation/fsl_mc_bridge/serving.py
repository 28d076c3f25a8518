# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ...serving SETTINGS``: the process, with a made host instead of VFIO. It says what is done with that."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from passthru.emulation.fsl_mc_bridge import command
from tests.unit.emulation.fsl_mc_bridge.made_host import MadeHost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from passthru.emulation.fsl_mc_bridge.settings import Settings


class Held(MadeHost):
    """A command for what VFIO would do, in a line of output."""

    def show(self, path: str, base: int, places: Iterable[tuple[int, int]]) -> None:
        print("shown", hex(base), [tuple(map(hex, place)) for place in places], flush=True)

    def send(self, command: bytes) -> bytes:
        answer = super().send(command)
        if command[6:8] == b"\x21\x01":  # who enables an interrupt is sent one
            self.signal(self.name)
        return answer

    def close(self) -> None:
        super().close()
        print("closed", flush=True)


def hold(settings: Settings) -> Held:
    """See `held.hold`."""
    print("held", settings.container, settings.group, flush=True)
    return Held()


if __name__ == "__main__":
    command.hold = hold  # type: ignore[assignment, attr-defined]
    sys.exit(command.main(sys.argv[1:]))
