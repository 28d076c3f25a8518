# SPDX-License-Identifier: GPL-2.0-or-later
"""What of the guest's commands the Management Complex gets to see, and what of its answers the guest.

Layouts are those of drivers/bus/fsl-mc/fsl-mc-private.h. Three things are the host's, and other ones in the guest:

    ICID        the guest has no IOMMU, and its ITS knows the container by 0 (``msi-map`` of its device tree)
    regions     are at offsets in the guest's windows
    interrupts  where their messages go, the host's kernel has told the MC; what the guest says stays here

All else passes as it is, so what a guest may do to its container is what the MC allows. But sessions are only those
that the guest has opened: the host's kernel has one by the same portal, with which it resets the container.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.fsl_mc_bridge.message import Message
from passthru.emulation.mc_status import Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.fsl_mc_bridge.interrupts import Interrupts

MC_REGION, QBMAN_REGION, QBMAN_CACHED_REGION = 0, 1, 2
"""``enum dprc_region_type``."""


class Code:
    """Commands, without their versions."""

    ATTRIBUTES, SET_IRQ, GET_IRQ = 0x004, 0x010, 0x011
    OBJECT_REGION, SET_OBJECT_IRQ, GET_OBJECT_IRQ = 0x15E, 0x15F, 0x160
    CLOSE = OPEN = 0x800
    """To open has the type of object in its low bits."""


_KEPT = (Code.SET_IRQ, Code.GET_IRQ, Code.SET_OBJECT_IRQ, Code.GET_OBJECT_IRQ)
"""Of interrupts: these do not reach the MC."""
_CONTAINER = "dprc."
_MODULE = 0x3F
_NAMES = (
    *("dpni", "dpsw", "dpio", "dpbp", "dprc", "dpdmux", "dpci", "dpcon", "dpseci", "dpaiop", "dpmcp", "dpmac"),
    *("dpdcei", "dpdmai", "", "dprtc"),
)
_KINDS = dict(enumerate(_NAMES, 1))
"""The part of a command's code that means a type of objects: the DP*_CMDID_OPEN of include/linux/fsl."""


class Passing:
    """``send`` carries a command to the MC and returns its answer; it may raise OSError.

    ``portal`` gives the offset of an object's MC portal in the guest's window, ``region`` that of another region of an
    object (its name and index); None where there is none for the guest.
    """

    def __init__(
        self,
        send: Callable[[bytes], bytes],
        interrupts: Interrupts,
        *,
        portal: Callable[[str], int | None],
        region: Callable[[str, int], int | None],
        say: Callable[[str], None],
    ) -> None:
        self._send = send
        self._interrupts = interrupts
        self._portal = portal
        self._region = region
        self._say = say
        self._sessions: dict[int, str] = {}

    def answer(self, command: Message) -> Message:
        """The answer that the guest gets."""
        item = self._sessions.get(command.token, "")
        if not item and (command.token or command.code in _KEPT):
            return command.answered(Status.AUTHENTICATION_ERROR)
        match command.code:
            case Code.SET_IRQ:
                return self._set_irq(command, item)
            case Code.GET_IRQ:
                return self._get_irq(command, item)
            case Code.SET_OBJECT_IRQ:
                return self._set_irq(command, _named(command, 20))
            case Code.GET_OBJECT_IRQ:  # which Linux does not ask for
                return command.answered(Status.UNSUPPORTED)
        answer = self._ask(command)
        return self._told(command, item, answer) if answer.status == Status.OK else answer

    def _ask(self, command: Message) -> Message:
        try:
            return Message(self._send(command.data))
        except OSError as error:
            self._say(f"the command {command.code:#x} of the guest did not reach the Management Complex: {error}")
            return command.answered(Status.TIMEOUT)

    def _told(self, command: Message, item: str, answer: Message) -> Message:
        """An answer that says that it was done."""
        code = command.code
        if code == Code.CLOSE:
            self._sessions.pop(command.token, None)
        elif code & ~_MODULE == Code.OPEN:
            kind = code & _MODULE
            self._sessions[answer.token] = f"{_KINDS.get(kind, f'type {kind:#x}')}.{command.word(0)}"
        elif code == Code.ATTRIBUTES and item.startswith(_CONTAINER):
            return answer.changed((4, "I", 0), (12, "I", 0))  # the ICID, and the number of the portal
        elif code == Code.OBJECT_REGION:
            return self._object_region(command, answer)
        return answer

    def _object_region(self, command: Message, answer: Message) -> Message:
        name, index, kind = _named(command, 0), command.byte(6), answer.byte(20)
        if kind == MC_REGION:
            offset = self._portal(name)
        elif kind in (QBMAN_REGION, QBMAN_CACHED_REGION):
            offset = self._region(name, index)
        else:
            offset = None
        if offset is None:
            self._say(f"the guest has no region {index} of {name}")
            return command.answered(Status.NO_RESOURCE)
        return answer.changed((8, "Q", offset), (32, "Q", 0))  # no base: the offset is in a range of the device tree

    def _set_irq(self, command: Message, name: str) -> Message:
        index, address, value = command.byte(4), command.long(8), command.word(0)
        try:
            done = self._interrupts.route(name, index, address, value, command.word(16))
        except OSError as error:
            self._say(f"interrupt {index} of {name} cannot be had from VFIO: {error}")
            done = False
        return command.answered(Status.OK if done else Status.CONFIG_ERROR)

    def _get_irq(self, command: Message, name: str) -> Message:
        address, value, number = self._interrupts.routed(name, command.byte(4))
        return command.answered(Status.OK, (0, "I", value), (8, "Q", address), (16, "I", number))


def _named(command: Message, number: int) -> str:
    """The object whose number and type are parameters."""
    return f"{command.text(24)}.{command.word(number)}"
