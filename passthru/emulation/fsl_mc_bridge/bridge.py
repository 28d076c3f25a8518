# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's side: its portals, and the regions that it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from passthru.emulation.complaints import Complaints
from passthru.emulation.fsl_mc_bridge.interrupts import Interrupts
from passthru.emulation.fsl_mc_bridge.message import HEADER, SIZE, Message
from passthru.emulation.fsl_mc_bridge.passing import Passing
from passthru.emulation.fsl_mc_bridge.places import PORTAL_STRIDE, PORTALS, QUEUE_STRIDE, QUEUES, Places
from passthru.emulation.fsl_mc_bridge.queues import Queues, Unsharable
from passthru.emulation.mc_status import Status
from passthru.emulation.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.device import VfioDevice

_STATUS_SHIFT = 16
_REGIONS = 2
MOST_SENTENCES = 64


class Held(Protocol):
    """See `held.HeldContainer`."""

    name: str

    def find(self, name: str) -> VfioDevice | None: ...
    def send(self, command: bytes) -> bytes: ...


class Bridge:
    """``portals`` and ``queues`` are the windows in the guest's RAM; both are released by `close`."""

    def __init__(self, held: Held, portals: memoryview, queues: memoryview) -> None:
        self._held = held
        self._portals = Words(portals)
        self._window = queues
        self._complaints = Complaints()
        self._said: set[str] = set()
        say = self._say
        self._portal_places: Places[str] = Places(PORTAL_STRIDE, PORTALS)
        self._portal_places.of(held.name)
        self._queue_places: Places[tuple[str, int]] = Places(QUEUE_STRIDE, QUEUES)
        self._queues: dict[str, Queues] = {}
        self._interrupts = Interrupts(held.find, self._carry, say)
        self._passing = Passing(
            held.send, self._interrupts, portal=self._portal_places.of, region=self._region, say=say
        )

    def plugged(self, watch: Callable[[int, Callable[[], None]], None], write: Callable[[int, int], None]) -> None:
        """See `Interrupts.plugged`; before the first `look`."""
        self._interrupts.plugged(watch, write)

    def look(self) -> bool:
        """Answer the guest's commands and doorbells; whether there were any."""
        busy = False
        for offset in tuple(self._portal_places.taken.values()):
            busy |= self._serve(offset)
        return self._carry() or busy

    def close(self) -> None:
        """Let go of the guest's RAM and of the objects' regions; they are to be closed after that."""
        self._interrupts.close()
        for each in self._queues.values():
            each.close()
        self._queues.clear()
        self._portals.release()
        self._window.release()

    def _serve(self, offset: int) -> bool:
        words = self._portals
        header = words.get_long(offset)
        if header >> _STATUS_SHIFT & 0xFF != Status.READY:
            return False
        command = Message(header.to_bytes(HEADER, "little") + bytes(words.memory[offset + HEADER : offset + SIZE]))
        answer = self._passing.answer(command)
        words.memory[offset + HEADER : offset + SIZE] = answer.parameters
        words.put_long(offset, answer.header)
        return True

    def _say(self, sentence: str) -> None:
        """Say it once: a guest may do the same over and over, or one after the other what it should not."""
        if sentence not in self._said and len(self._said) < MOST_SENTENCES:
            self._said.add(sentence)
            self._complaints.say(sentence)

    def _carry(self) -> bool:
        busy = False
        for each in self._queues.values():
            busy |= each.look()
        return busy

    def _region(self, name: str, index: int) -> int | None:
        """Where in the guest's window a region of a dpio is, which is shared from the first time on."""
        if not 0 <= index < _REGIONS:
            return None
        if name not in self._queues:
            device = self._held.find(name)
            offsets = [self._queue_places.of((name, region)) for region in range(_REGIONS)] if device else []
            if device is None or None in offsets:
                return None
            try:
                first, second = (self._window[at : at + QUEUE_STRIDE] for at in offsets if at is not None)
                self._queues[name] = Queues(name, device, (first, second))
            except (Unsharable, OSError) as error:
                self._say(f"the guest gets no regions of {name}: {error}")
                return None
        return self._queue_places.of((name, index))
