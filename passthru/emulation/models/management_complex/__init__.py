# SPDX-License-Identifier: GPL-2.0-or-later
"""A Management Complex of DPAA2: ``compatible = "fsl,qoriq-mc"``, for Linux's fsl-mc bus as it is.

Three windows, in the order of ``regions``: MC portals (32 MiB, the range of type 0; its first 64 bytes are the root
container's, ``reg`` 0), QBMan portals (8 MiB, the range of type 1), control registers (256 KiB, ``reg`` 1). The first
must be aligned to 64 MiB. It has no interrupt lines: objects interrupt by messages, which the driver tells them, and
that are writes of their container's stream.

dprc.1 is the root. It has one child, dprc.2, with objects of its own. dprc.1 has the ICID ``icid``, and others have
the next ones. Their objects reach memory by the stream of that number, so the device's first stream is to be ``icid``.

Portals behave as drivers/bus/fsl-mc has it: `portal` has the protocol, `commands` and `containers` the commands. What
the software that has a container's portals may do is decided by the container's options: dprc.1 may do all, dprc.2 may
set its interrupts and nothing else, so that whoever is given it cannot change what is in it. Objects can be created,
assigned and destroyed while Linux runs, with the commands of restool through /dev/dprc.1.

A dpio has two regions of 64 KiB: plain memory, and in the second one a copy engine (`copy_engine`) in the place of the
software portal that the hardware has there. It copies by the stream of its container, and its causes are cause 0x1 of
the dpio's interrupt 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from passthru.emulation.model import Access, Model
from passthru.emulation.models.management_complex.containers import PORTAL_STRIDE, SLOT_STRIDE
from passthru.emulation.models.management_complex.inventory import SLOTS, Inventory
from passthru.emulation.models.management_complex.objects import IRQ_CONFIG_ALLOWED, PLUGGED, parse_objects
from passthru.emulation.models.management_complex.portal import PORTALS
from passthru.emulation.models.management_complex.status import Refused
from passthru.emulation.windows import Window
from passthru.errors import UserMistake
from passthru.vfio import linux_vfio as vfio

if TYPE_CHECKING:
    from passthru.emulation.model import Plug

CONTROL_SIZE = 0x40000
_GSR, _GSR_READY = 0x08, 0x1  # what Linux 7 wants to see before it uses the firmware


class ManagementComplex(Model):
    """See the module's page."""

    access: ClassVar[Access] = "memory"

    @dataclass(frozen=True)
    class Options(Model.Options):
        """``root`` and ``child``: the objects of dprc.1 and dprc.2, besides dprc.2 itself.

        ``plugged``: whether dprc.2 is taken by the driver of its bus as soon as it is found. ``icid``: that of dprc.1.
        """

        root: str = "dpmcp.1"
        child: str = "dpni.0 dpbp.1 dpmcp.2 dpio.0 dpcon.0"
        plugged: bool = False
        icid: int = 0x17

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.device_flags = vfio.VFIO_DEVICE_FLAGS_PLATFORM
        self._portals = Window(PORTALS * PORTAL_STRIDE)
        self._qbman = Window(SLOTS * SLOT_STRIDE)
        self._control = Window(CONTROL_SIZE)
        self.regions = (self._portals, self._qbman, self._control)
        self.inventory = Inventory(self._qbman, options.icid)
        child = self.inventory.add_container(
            self.inventory.root, IRQ_CONFIG_ALLOWED, state=PLUGGED if options.plugged else 0
        )
        try:
            for container, text in ((self.inventory.root, options.root), (child, options.child)):
                for kind, number in parse_objects(text, UserMistake):
                    self.inventory.add(container, kind, number)
        except Refused as error:
            raise UserMistake(
                f"the management complex cannot have {options.root} and {options.child}: an object is there twice, "
                "or there are too many"
            ) from error
        self.power_on()

    def plugged(self, plug: Plug) -> None:
        super().plugged(plug)
        self.inventory.plug = plug

    def power_on(self) -> None:
        self._control.words.put(_GSR, _GSR_READY)
        for engine in self.inventory.engines:
            engine.power_on()

    def look(self) -> bool:
        busy = False
        for each in tuple(self.inventory.portals.values()):
            busy |= each.look(self._portals, self.inventory)
        for engine in self.inventory.engines:
            busy |= engine.look()
        return busy
