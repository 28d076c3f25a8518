# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts of the container and its objects: eventfds of VFIO's become messages to the guest's ITS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.device import VfioDevice

MOST = 1024
"""Interrupts that are remembered; a container has fewer."""
_TRIGGER = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER


class Interrupts:
    """``find`` gives an object's device by its name; None where VFIO has none.

    ``before`` is called before a message goes out: what the interrupt is about is to be in the guest's sight by then.
    """

    def __init__(
        self, find: Callable[[str], VfioDevice | None], before: Callable[[], object], say: Callable[[str], None]
    ) -> None:
        self._find = find
        self._before = before
        self._say = say
        self._messages: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._eventfds: dict[tuple[str, int], int] = {}
        self._watch: Callable[[int, Callable[[], None]], None] | None = None
        self._write: Callable[[int, int], None] | None = None

    def plugged(self, watch: Callable[[int, Callable[[], None]], None], write: Callable[[int, int], None]) -> None:
        """``watch`` calls back when a descriptor is readable; ``write`` writes 4 bytes to an address of the guest's.

        To be called before `route`.
        """
        self._watch = watch
        self._write = write

    def route(self, name: str, index: int, address: int, value: int, number: int) -> bool:
        """The interrupt ``index`` of an object is to be a write of ``value`` at ``address``.

        False where the object has no such interrupt. For an object that VFIO knows nothing of, nothing will come.
        Raises OSError.
        """
        key = name, index
        if len(self._messages) == MOST and key not in self._messages:
            return False
        if key not in self._eventfds:
            device = self._find(name)
            if device is None:
                self._say(f"interrupts of {name} do not reach the guest: VFIO has had no device for it when it began")
            elif index >= device.info().num_irqs:
                return False
            else:
                self._connect(device, key)
        self._messages[key] = address, value, number
        return True

    def routed(self, name: str, index: int) -> tuple[int, int, int]:
        """Address, value and number as they were told last; zeros before that."""
        return self._messages.get((name, index), (0, 0, 0))

    def close(self) -> None:
        """Close the eventfds; the devices are to be closed as well, as they hold them too."""
        for eventfd in self._eventfds.values():
            os.close(eventfd)
        self._eventfds.clear()

    def _connect(self, device: VfioDevice, key: tuple[str, int]) -> None:
        assert self._watch is not None
        eventfd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            device.set_irqs(_TRIGGER, key[1], descriptors=(eventfd,))
        except OSError:
            os.close(eventfd)
            raise
        self._eventfds[key] = eventfd
        self._watch(eventfd, lambda: self._signalled(key))

    def _signalled(self, key: tuple[str, int]) -> None:
        try:
            os.eventfd_read(self._eventfds[key])
        except BlockingIOError:
            return
        self._before()
        address, value, _ = self._messages[key]
        if address:  # Linux takes a message away by telling the address 0
            assert self._write is not None
            self._write(address, value)
