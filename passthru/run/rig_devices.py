# SPDX-License-Identifier: GPL-2.0-or-later
"""The devices in a rig's shared RAM: what the process that plays them is told, and what QEMU is.

The first is its board (emulation/shared_ram/board.py). They meet at sockets in the scratch directory of this machine's
worker.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from passthru.emulation.shared_ram.command import READY as IN_PLACE
from passthru.host.python import lean_command
from passthru.host.rig_devices import MODULE, NAME, READY
from passthru.qemu import shared_ram
from passthru.qemu.script import Companion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.qemu.shared_ram import Seat
    from passthru.scenario.hosts import RigHost

RAM = "{socket:ram}"
"""The RAM's file; whoever starts the rig on this machine takes one that is nothing but memory instead."""
_QTEST, _QMP = "{socket:qtest}", "{socket:qmp-devices}"
_READY = f"{{stream:{READY}}}"


def qemu_arguments() -> tuple[str, ...]:
    """What QEMU needs: a socket by which interrupts come in, and one of QMP by which their controller is found."""
    return (
        *("-qtest", f"unix:{_QTEST},server=on,wait=off", "-qtest-log", "none"),
        *("-chardev", f"socket,id=devices,path={_QMP},server=on,wait=off", "-qmp", "chardev:devices"),
    )


def board_of(host: RigHost, seats: Mapping[str, Seat], *, told: bool = True) -> str:
    """The board of ``host``, as JSON with placeholders; ``told`` when a kernel may look (see rig_devices.READY)."""
    board: dict[str, Any] = {
        "ram": {"path": RAM, "size": host.memory << 20, "base": shared_ram.RAM_BASE},
        "qtest": _QTEST,
        "qmp": _QMP,
        "smmu": {
            "address": shared_ram.SMMU,
            "global_spi": shared_ram.SMMU_GLOBAL_SPI,
            "context_spis": list(shared_ram.SMMU_CONTEXT_SPIS),
        },
        "devices": {
            name: {
                "model": host.hardware[name].model,
                "options": dict(host.hardware[name].options),
                "regions": list(seat.regions),
                "spis": list(seat.spis),
                "stream": seat.stream,
            }
            for name, seat in seats.items()
        },
    }
    streams = [stream for seat in seats.values() for stream in seat.message_streams]
    if streams:
        board["messages"] = {"doorbell": shared_ram.GITS_TRANSLATER, "streams": streams}
    if not told:
        return json.dumps(board)
    # A placeholder becomes a number, which is none in quotes.
    return json.dumps({**board, "ready": _READY}).replace(json.dumps(_READY), _READY)


def by_hand(host: RigHost, seats: Mapping[str, Seat]) -> Companion:
    """The process for a script."""
    return Companion(NAME, lean_command(MODULE, board_of(host, seats, told=False)), says=IN_PLACE)
