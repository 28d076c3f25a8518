# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that answers commands from a table, and texts that a real guest printed (Debian 12, mtty over vfio-user)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.check.context import AssignedDevice, Context
from passthru.check.registry import check, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.check.finding import Finding

LISTING = """\
00:05.0 Serial controller: WCH.CN CH352 PCI Dual Serial Port Controller (rev 10) (prog-if 02 [16550])
\tSubsystem: WCH.CN CH352 PCI Dual Serial Port Controller
\tPhysical Slot: 5
\tControl: I/O+ Mem- BusMaster- SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-
\tStatus: Cap- 66MHz- UDF- FastB2B- ParErr- DEVSEL=medium >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-
\tInterrupt: pin A routed to IRQ 10
\tRegion 0: I/O ports at c050 [size=8]
\tRegion 1: I/O ports at c058 [size=8]
\tKernel driver in use: serial
00: 48 43 53 32 01 00 00 02 10 02 00 07 00 00 00 00
10: 51 c0 00 00 59 c0 00 00 00 00 00 00 00 00 00 00
20: 00 00 00 00 00 00 00 00 00 00 00 00 48 43 53 32
30: 00 00 00 00 00 00 00 00 00 00 00 00 0a 01 00 00

"""
SETSERIAL = """\
/dev/ttyS0, UART: 16550A, Port: 0x03f8, IRQ: 4
/dev/ttyS1, UART: 16550A, Port: 0xc050, IRQ: 10
/dev/ttyS2, UART: 16550A, Port: 0xc058, IRQ: 10
/dev/ttyS3, UART: unknown, Port: 0x02e8, IRQ: 3
"""
RESOURCE = """\
0x000000000000c050 0x000000000000c057 0x0000000000040101
0x000000000000c058 0x000000000000c05f 0x0000000000040101
0x0000000000000000 0x0000000000000000 0x0000000000000000
"""
DMESG = """\
[    0.000000] Linux version 6.1.0-56-cloud-amd64
[    1.090283] 00:03: ttyS0 at I/O 0x3f8 (irq = 4, base_baud = 115200) is a 16550A
[    1.101938] 0000:00:05.0: ttyS1 at I/O 0xc050 (irq = 10, base_baud = 115200) is a 16550A
[    1.102709] 0000:00:05.0: ttyS2 at I/O 0xc058 (irq = 10, base_baud = 115200) is a 16550A
"""
INTERRUPTS = """\
           CPU0       CPU1
  4:          6         93   IO-APIC   4-edge      ttyS0
 10:        {0}          {1}   IO-APIC  10-fasteoi   ttyS1
 25:         13          1   PCI-MSI 65537-edge      virtio0-virtqueues
LOC:        306        100   Local timer interrupts
ERR:          0
"""


@dataclass(frozen=True)
class Answer:
    """How a command ends."""

    stdout: bytes = b""
    stderr: bytes = b""
    status: int = 0


@dataclass(frozen=True)
class Complaint:
    """A splat."""

    title: str

    @property
    def lines(self) -> tuple[str, ...]:
        return (self.title,)


@dataclass
class Log:
    """What the console showed."""

    lines: list[str] = field(default_factory=list)
    splats: list[Complaint] = field(default_factory=list)
    quirks: list[Complaint] = field(default_factory=list)


class TableGuest:
    """Answers every command with ``answer``, or raises it; ``ran`` are the commands."""

    def __init__(self, answer: Answer | Exception, log: Log | None = None) -> None:
        self.answer = answer
        self.kernel_log = log or Log()
        self.ran: list[str] = []
        self.timeouts: list[float] = []

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        self.ran.append(command)
        self.timeouts.append(timeout)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def device(address: str = "0000:00:05.0", **options: object) -> AssignedDevice:
    """mtty, with these options of its model."""
    return AssignedDevice("mtty0", address, "mtty", {"ports": 2, "fifo": "faithful", **options})


def bundle(files: Mapping[str, bytes | str]) -> Answer:
    """What a script with these files in its directory prints."""
    data = {name: body.encode() if isinstance(body, str) else body for name, body in sorted(files.items())}
    sizes = "".join(f"{len(body)} {name}\n" for name, body in data.items())
    return Answer(sizes.encode() + b"\n" + b"".join(data.values()))


async def judged(
    use: str,
    table: Mapping[str, object],
    guest: TableGuest | Answer | Exception,
    which: AssignedDevice | None = None,
) -> Finding:
    """The finding of the check ``use`` with the options in ``table``."""
    options = check(use).Options.model_validate({"use": use, **table})
    context = Context(guest if isinstance(guest, TableGuest) else TableGuest(guest), which or device())
    return await judge(context, options)


def without(text: str, *starts: str) -> str:
    """``text`` without the lines that begin like that."""
    return "".join(line for line in text.splitlines(keepends=True) if not _begins(line, starts))


def _begins(line: str, starts: Sequence[str]) -> bool:
    return line.strip().startswith(tuple(starts))
