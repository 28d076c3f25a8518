# SPDX-License-Identifier: GPL-2.0-or-later
"""What a check is given. A check never learns where the guest runs, nor how its device is plugged in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from passthru.deadline import Deadline
from passthru.errors import MissingCapability
from passthru.events import Tell, tell_nobody

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from passthru.check.host_hand import HostHand
    from passthru.check.machine import Machine
    from passthru.check.options import CheckOptions
    from passthru.check.outside import Line
    from passthru.check.suite import Suite

NOT_FOUND = 127
"""The status of a shell that does not find the command."""


class Completed(Protocol):
    """How a command in the guest ended."""

    @property
    def stdout(self) -> bytes: ...
    @property
    def stderr(self) -> bytes: ...
    @property
    def status(self) -> int: ...


class Splat(Protocol):
    """One complaint of the guest's kernel: BUG, WARNING, Oops and their like; ``title`` is its first telling line."""

    @property
    def title(self) -> str: ...
    @property
    def lines(self) -> Sequence[str]: ...


class KernelLog(Protocol):
    """The guest kernel's messages as its console showed them; ``quirks`` are complaints that the scenario knows."""

    @property
    def lines(self) -> Sequence[str]: ...
    @property
    def splats(self) -> Sequence[Splat]: ...
    @property
    def quirks(self) -> Sequence[Splat]: ...


class Guest(Protocol):
    """The part of a guest that checks use."""

    @property
    def kernel_log(self) -> KernelLog: ...
    async def run(self, command: str, timeout: float = ...) -> Completed: ...


class NoGuest:
    """In the place of a guest where there is none: whatever is asked of it is a capability that is missing."""

    @property
    def kernel_log(self) -> KernelLog:
        """Raises MissingCapability."""
        raise self._missing()

    async def run(self, command: str, timeout: float = 0) -> Completed:
        """Raises MissingCapability."""
        raise self._missing()

    @staticmethod
    def _missing() -> MissingCapability:
        return MissingCapability("a guest", 'the scenario has no guest ([guest] kind = "none")')


@dataclass(frozen=True)
class AssignedDevice:
    """A device as the guest sees it.

    ``address`` is its PCI address in the guest in full, such as ``0000:00:05.0``; ``model`` and ``options`` say what
    was asked for (an option of the model by its name), as far as the device has a model.

    ``hardware`` is the name of the hardware of an emulated host that it is, and ``host`` what is known of it there
    (``host_hand.FACTS``); both are empty for a device that no host's kernel owns.
    """

    id: str
    address: str
    model: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    hardware: str = ""
    host: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """The guest, the device, the time that is left, and who listens.

    ``machine`` is the hand on the guest's machine, where there is one. ``devices`` are all devices of the scenario and
    ``checks`` all its checks, by their ids, for a check that runs others again; ``passed`` are those that have.
    ``missing`` are the kernel modules that the guest could not be given, and why. ``host`` is the hand on the host that
    owns the devices, where there is one, and ``outside`` the far ends of its hardware, by the hardware's name.
    ``suite`` is the conformance suite, where no guest has the devices; ``guest`` has nothing to give then.
    """

    guest: Guest
    device: AssignedDevice | None = None
    deadline: Deadline = field(default_factory=Deadline)
    tell: Tell = tell_nobody
    machine: Machine | None = None
    devices: Mapping[str, AssignedDevice] = field(default_factory=dict)
    checks: Mapping[str, CheckOptions] = field(default_factory=dict)
    passed: Collection[str] = ()
    missing: Mapping[str, MissingCapability] = field(default_factory=dict)
    host: HostHand | None = None
    outside: Mapping[str, Line] = field(default_factory=dict)
    suite: Suite | None = None

    @property
    def the_device(self) -> AssignedDevice:
        """The device, for checks whose options demand one."""
        if self.device is None:
            raise ValueError("this check needs a device, and the runner gave none")
        return self.device

    @property
    def the_machine(self) -> Machine:
        """The hand on the guest's machine; raises MissingCapability where there is none."""
        if self.machine is None:
            raise MissingCapability(
                "a hand on the guest's machine", "nobody here can unplug devices of the guest, or reset its machine"
            )
        return self.machine

    @property
    def the_host(self) -> HostHand:
        """The hand on the host that owns the devices; raises MissingCapability where there is none."""
        if self.host is None:
            raise MissingCapability(
                "a hand on the host", "nobody here can run programs on the host that owns the guest's devices"
            )
        return self.host

    def the_line(self, hardware: str) -> Line:
        """The far end of a host's hardware, by its name; raises MissingCapability where it has none."""
        if hardware not in self.outside:
            lines = ", ".join(sorted(self.outside)) or "none"
            raise MissingCapability(
                f"the outside of {hardware}" if hardware else "the outside of a device",
                f"nobody here holds the other end of {hardware or 'a device that is no hardware of a rig'}"
                f" (lines to the outside: {lines}); only hardware of a rig, such as pci-serial, has one",
            )
        return self.outside[hardware]

    async def run(self, command: str, *, needs: Sequence[str] = ()) -> Completed:
        """Run ``command`` in the guest, bounded by the deadline.

        Raises DeadlineExceeded if it does not end, and MissingCapability if it ends for want of one of the programs
        that it ``needs``.
        """
        # The guest scales what it is given. A tenth is left for the check to say what did not end.
        timeout = self.deadline.remaining / self.deadline.scale * 0.9
        completed = await self.guest.run(command, timeout=timeout)
        if needs and completed.status == NOT_FOUND:
            told = completed.stderr.decode(errors="replace").strip()
            programs = " or ".join(needs)
            raise MissingCapability(
                f"{programs} in the guest", f"the guest has no {programs} ({told}); use an image whose recipe has it"
            )
        return completed
