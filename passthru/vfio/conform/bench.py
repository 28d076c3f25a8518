# SPDX-License-Identifier: GPL-2.0-or-later
"""The device on the bench: opened once for all tests that share it, settled after each, opened anew when in doubt.

Opening can be slow (an igb is reset, which takes 100 ms), and a device that was left in a strange state would judge the
next test.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from passthru.vfio.conform.capabilities import LOST, irqs_of
from passthru.vfio.conform.settling import disable, settle
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.vfio.conform.settling import Step
    from passthru.vfio.device import IrqInfo, Opened, Target, VfioDevice
    from passthru.vfio.stubs.stub import Stub


class Bench:
    """``stub_of`` makes the stub for an opened device; None where there is none."""

    def __init__(self, target: Target, stub_of: Callable[[VfioDevice], Stub | None]) -> None:
        self.target = target
        self.settling: tuple[Step, ...] = (disable,)
        """What settles an interrupt index of the target, once it is known what that is."""
        self.preparing: tuple[Step, ...] = ()
        """What has to be done to each index of a shared opening before tests may have it."""
        self._stub_of = stub_of
        self._opened: Opened | None = None
        self._stub: Stub | None = None
        self.unprepared: OSError | Malformed | None = None
        """What the stub met when it last made the device ready, where it could not."""
        self._irqs: tuple[IrqInfo, ...] = ()

    @property
    def opened(self) -> Opened:
        """The shared opening, made where there is none. Raises what `Target.open` raises."""
        if self._opened is None:
            opened = self.target.open()
            self._irqs, self.unprepared = (), None
            try:
                self._irqs = irqs_of(opened.device)
                settle(opened.device, self._irqs, self.preparing)
                self._stub = self.prepare_stub(opened)
            except LOST as error:  # tests will tell; they begin with an opening that this did not end
                opened.close()
                opened, self.unprepared = self.target.open(), error
            except (OSError, Malformed) as error:  # a test tells of it
                self.unprepared = error
            except BaseException:
                opened.close()
                raise
            self._opened = opened
        return self._opened

    @property
    def stub(self) -> Stub | None:
        """The stub of the shared opening."""
        return self._stub if self.opened else None

    def prepare_stub(self, opened: Opened) -> Stub | None:
        """The stub for an opening, prepared."""
        if stub := self._stub_of(opened.device):
            stub.neighbour = opened.neighbour
            stub.prepare()
        return stub

    def settle(self) -> None:
        """Bring the shared opening back to its beginning: no interrupt enabled. Raises LOST where it went away."""
        if self._opened:
            settle(self._opened.device, self._irqs, self.settling)

    def drop(self) -> None:
        """Give the shared opening up; the next who wants it opens anew."""
        opened, self._opened, self._stub = self._opened, None, None
        if opened:
            with contextlib.suppress(OSError):
                opened.close()
