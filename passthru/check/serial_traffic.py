# SPDX-License-Identifier: GPL-2.0-or-later
"""Traffic on the serial ports of a device that answers every burst: one guest script for all ports and bursts.

The guest's own driver is used (``/dev/ttyS*`` or another), raw and without flow control. Each burst is one ``write``,
and its answer, of the same size, is read before the next one is sent: a burst is what stands in the device's FIFO at
once. A device that sends everything back answers with the burst itself; who stands at the far end of a wire, with
``reply``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from passthru.check import bundle
from passthru.errors import DeadlineExceeded, PassthruError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from passthru.check.context import Context

# What a line discipline, a FIFO or flow control is most likely to swallow or to change comes first.
_DELICATE = bytes(
    [0x00, 0xFF, 0x11, 0x13, 0x0D, 0x0A, 0x03, 0x04, 0x1A, 0x1B, 0x7F, 0x80, 0x16, 0x15, 0x1C, 0x08, 0xAA, 0x55]
)
_ONCE_EACH = _DELICATE + bytes(value for value in range(256) if value not in _DELICATE)
# One more than all the values, and a prime: the bursts of a usual check all differ, so that a late or a repeated burst
# does not pass for the next one.
_CYCLE = _ONCE_EACH + b"\x5a"

LARGEST_BURST = 4095
"""Bytes; the kernel's buffers of a serial port (one page) take no more in one write."""
MOST_BYTES = 16384
"""Bytes on each port: they travel in the script, four characters each."""


@dataclass(frozen=True)
class Traffic:
    """How much goes over which ports: ``ports`` are numbers from 0, None means all of the device.

    ``silence`` is the time in seconds without a byte after which the rest of a burst counts as lost.
    """

    size: int
    bursts: int
    ports: tuple[int, ...] | None = None
    baud: int = 115200
    silence: float = 1.0


@dataclass(frozen=True)
class PortTraffic:
    """What came back on one port: a piece for each burst that was sent, and what came after the last one."""

    number: int
    name: str
    received: tuple[bytes, ...]
    surplus: bytes


def sent(traffic: Traffic, burst: int) -> bytes:
    """The bytes of one burst (from 0), the same on every port; the bursts of a port run through all 256 values."""
    start = burst * traffic.size % len(_CYCLE)
    repeated = _CYCLE * (traffic.size // len(_CYCLE) + 2)
    return repeated[start : start + traffic.size]


def reply(traffic: Traffic, burst: int) -> bytes:
    """What the far end of a wire answers a burst with: every bit is another than in what it was sent."""
    return bytes(value ^ 0xFF for value in sent(traffic, burst))


class NotDriven(PassthruError):
    """The guest could not send, or did not come to an end: a failure of the device or its driver."""

    def __init__(self, sentence: str, last_lines: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.last_lines = tuple(last_lines)


async def drive(context: Context, traffic: Traffic, *, opened: str = "", closing: str = "") -> dict[str, bytes]:
    """Run the script in the guest, on the ports of the context's device; returns its files, of which there is one
    port's traffic at least.

    Raises NotDriven, MissingCapability without the programs that the script needs.
    """
    device = context.the_device
    command = script(device.address, traffic, opened=opened, closing=closing)
    try:
        completed = await context.run(command, needs=["stty", "dd", "stat"])
    except DeadlineExceeded as error:
        raise NotDriven(
            f"the serial ports of {device.id} hang: {traffic.size * traffic.bursts} bytes a port, sent and read back,"
            f" did not end within {error.seconds:.1f} s",
            error.last_lines,
        ) from error
    if completed.status != 0:
        said = completed.stderr.decode(errors="replace").strip()
        raise NotDriven(f"the guest could not drive the serial ports of {device.id}: {said}")
    files = bundle.parse(completed.stdout)
    there = int(files["ports"])
    if not there:
        raise NotDriven(f"the guest's kernel made no serial port of the device at {device.address}")
    if absent := [port for port in traffic.ports or () if port >= there]:
        ports = " and ".join(f"port {port}" for port in absent)
        raise NotDriven(f"{ports}: the guest has only {there} serial ports on this device")
    return files


def tty_patterns(address: str) -> str:
    """Shell patterns for the ttys of a device: ttyS9 before ttyS10 for one on PCI, else what its driver calls them.

    Since Linux 6.5 the serial core has a controller and a port (``ADDRESS:0/ADDRESS:0.0``) in between.
    """
    bus, names = ("pci", ("ttyS?", "ttyS??")) if ":" in address else ("*", ("tty?*",))
    device = f"/sys/bus/{bus}/devices/{address}"
    levels = ("", f"/{address}:*/{address}:*")
    return " ".join(f"{device}{level}/tty/{name}" for name in names for level in levels)


def script(address: str, traffic: Traffic, *, opened: str = "", closing: str = "") -> str:
    """The guest script; ``opened`` and ``closing`` run in the bundle's directory while a port is open.

    They may use ``$port``, the port's number. Whatever files they leave there come back with the traffic.
    """
    chosen = "*" if traffic.ports is None else "|".join(str(port) for port in traffic.ports)
    octal = ("".join(f"\\{value:03o}" for value in sent(traffic, burst)) for burst in range(traffic.bursts))
    bursts = " ".join(f"'{burst}'" for burst in octal)
    tenths = min(255, max(1, math.ceil(traffic.silence * 10)))
    # In a subshell: a session's leader that opens a serial port would get it as its controlling terminal.
    # The shell's own printf spares a fork. It sends a burst in one write only because its first output, the port's
    # name, goes to a file: stdio then buffers whole blocks for good. Begun on a terminal, or after an echo (which
    # goes past stdio), it would write line by line, and a burst with a line end in it would be two small ones.
    return f"""\
{bundle.BEGIN}(
set -- {bursts}
port=-1
for node in {tty_patterns(address)}; do
  [ -e "$node" ] || continue
  port=$((port + 1))
  case $port in {chosen}) ;; *) continue ;; esac
  printf '%s\\n' "${{node##*/}}" >$port.name
  exec 3<>"/dev/${{node##*/}}"
  stty {traffic.baud} raw -echo -crtscts clocal cread cs8 -parenb -cstopb -ixoff min 0 time {tenths} <&3 || exit
  {opened}
  number=0
  for burst; do
    printf "$burst" >&3 || exit
    dd bs={traffic.size} count=1 iflag=fullblock <&3 >$port.$number 2>.dd || {{ cat .dd >&2; exit 1; }}
    read -r whole rest <.dd
    number=$((number + 1))
    [ "$whole" = 1+0 ] || break
  done
  {closing}
  stty min 0 time 0 <&3 && dd bs=4096 count=1 <&3 >$port.surplus 2>.dd
  exec 3>&-
done
echo $((port + 1)) >ports
) || exit
{bundle.END}"""


def parse(files: Mapping[str, bytes]) -> tuple[PortTraffic, ...]:
    """The traffic of each port that was used, in the order of their numbers, from the script's files."""
    numbers = sorted(int(name.removesuffix(".name")) for name in files if name.endswith(".name"))
    return tuple(
        PortTraffic(
            number,
            files[f"{number}.name"].decode().strip(),
            tuple(_bursts(files, number)),
            files.get(f"{number}.surplus", b""),
        )
        for number in numbers
    )


def _bursts(files: Mapping[str, bytes], number: int) -> Iterator[bytes]:
    burst = 0
    while (piece := files.get(f"{number}.{burst}")) is not None:
        yield piece
        burst += 1


def complaints(
    traffic: Traffic, port: PortTraffic, answer: Callable[[Traffic, int], bytes] = sent, back: str = "back"
) -> list[str]:
    """What is wrong with the answers on one port, one sentence for each burst, with the offsets and values of bytes."""
    where = f"port {port.number} ({port.name})"
    wrong = []
    for burst, received in enumerate(port.received):
        expected = answer(traffic, burst)
        if received != expected:
            wrong.append(
                f"{where}: burst {burst + 1} of {traffic.bursts}: sent {len(expected)} bytes,"
                f" got {len(received)} {back}: {difference(expected, received)}"
            )
    unsent = traffic.bursts - len(port.received)
    if unsent:
        wrong.append(f"{where}: {unsent} bursts of {traffic.bursts} were not sent after that loss")
    if port.surplus:
        wrong.append(f"{where}: {len(port.surplus)} bytes came back that were not sent: {_values(port.surplus)}")
    return wrong


def difference(expected: bytes, received: bytes) -> str:
    """What became of the bytes that were expected, as the end of a sentence: offsets and values."""
    matcher = SequenceMatcher(None, expected, received, autojunk=False)
    said = []
    for kind, first, last, new_first, new_last in matcher.get_opcodes():
        old, new = expected[first:last], received[new_first:new_last]
        if kind == "delete":
            said.append(f"lost {_offsets(first, last)} ({_values(old)})")
        elif kind == "replace":
            said.append(f"{_offsets(first, last)} ({_values(old)}) came as {_values(new)}")
        elif kind == "insert":
            said.append(f"{_values(new)} came in addition before byte {first}")
    return "; ".join(said)


def _offsets(first: int, last: int) -> str:
    return f"byte {first}" if last - first == 1 else f"bytes {first}-{last - 1}"


def _values(data: bytes, most: int = 16) -> str:
    return data[:most].hex(" ") + (f" and {len(data) - most} more" if len(data) > most else "")
