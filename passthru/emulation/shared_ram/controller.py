# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the machine's interrupt controller is in QEMU's object tree: found by its type, over QMP.

Its path, ``/machine/unattached/device[N]``, changes with QEMU's version and with the machine's arguments.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from passthru.emulation.shared_ram.qtest import LineStream
from passthru.errors import Unusable

if TYPE_CHECKING:
    import socket

PARENT = "/machine/unattached"
KINDS = ("arm-gicv3", "kvm-arm-gicv3")
"""hw/intc of QEMU: TYPE_ARM_GICV3 and its twin in the kernel."""


def find_controller(connection: socket.socket, seconds: float) -> str:
    """The QOM path of the GICv3 of the QEMU whose QMP is at the other end of ``connection``.

    Raises Unusable where there is none, or no answer within ``seconds`` for each of three.
    """
    stream = LineStream(connection, "QMP socket")
    json.loads(stream.receive(seconds))  # its greeting
    _execute(stream, seconds, "qmp_capabilities")
    children = _execute(stream, seconds, "qom-list", path=PARENT)
    for child in children:
        if child["type"] in [f"child<{kind}>" for kind in KINDS]:
            return f"{PARENT}/{child['name']}"
    raise Unusable(f"QEMU's machine has no {' or '.join(KINDS)} in {PARENT}; start it with -M virt,gic-version=3")


def _execute(stream: LineStream, seconds: float, command: str, **arguments: str) -> Any:
    stream.send(json.dumps({"execute": command, "arguments": arguments}), seconds)
    while True:
        answer = json.loads(stream.receive(seconds))
        if "event" in answer:
            continue
        if "return" not in answer:
            raise Unusable(f"QEMU's QMP refused {command}: {answer.get('error', {}).get('desc', answer)}")
        return answer["return"]
