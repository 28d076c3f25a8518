# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver in the guest that tests DMA and interrupts: its commands and answers (images/modules/passthru_dma).

A command is a line, and so is its answer: the command's word and KEY=VALUE pairs, or ``error`` and a sentence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from passthru.errors import MissingCapability, PassthruError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from passthru.check.context import Completed, Context

MODULE = "passthru_dma"
INTERFACE = 2
"""The version of the commands that is spoken here."""
KINDS = ("intx", "line", "msi", "msix")
"""The driver's words for the kinds of interrupts; ``line`` is that of a device that is not on PCI."""
MOST_VECTORS = 16
"""As many as the driver uses."""

_NO_MODULE, _NO_DEVICE, _NOT_BOUND = 71, 72, 73  # exit statuses of the script, which busybox has no use for


@dataclass(frozen=True)
class Answer:
    """One line of the driver: its word and its values; of an error, ``refusal`` is the sentence."""

    line: str
    word: str
    values: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""

    def __getitem__(self, name: str) -> str:
        """A value; raises PassthruError where the line has none of that name."""
        if name not in self.values:
            raise PassthruError(f'the driver {MODULE} answered "{self.line}", which has no {name}; build it anew')
        return self.values[name]

    def number(self, name: str) -> int:
        """A value that is a number; raises PassthruError where it is none."""
        try:
            return int(self[name], 0)
        except ValueError as error:
            raise PassthruError(f'the driver {MODULE} answered "{self.line}", where {name} is no number') from error


class NoDriver(PassthruError):
    """The driver is there and did not take the device."""


@dataclass(frozen=True)
class About:
    """What the driver says of the device.

    ``vectors`` are those that the device offers by kind, 0 for none; ``usable`` those that a guest can have of them:
    of MSI's it is the guest's platform that says how many.
    """

    kind: str
    identification: int
    buffer: int
    page: int
    vectors: Mapping[str, int]
    usable: Mapping[str, int]


async def about(context: Context) -> About:
    """Ask the driver about the device.

    Raises MissingCapability without the driver's module, NoDriver where the device has no driver.
    """
    device = context.the_device
    commands = ["info", "interrupts msi"]
    completed = await context.run(_script(device.address, commands))
    said = completed.stderr.decode(errors="replace").strip()
    if completed.status == _NO_MODULE:
        raise MissingCapability(
            f"the module {MODULE} in the guest",
            f"the guest's kernel ({said}) has no module {MODULE}; take a kernel that it was built for, such as"
            " debian:bookworm/cloud, and name it in the guest's modules",
        )
    if completed.status == _NO_DEVICE:
        raise NoDriver(f"the guest has no device at {device.address}")
    if completed.status == _NOT_BOUND:
        raise NoDriver(f"the driver {MODULE} did not take the device at {device.address}: {said or 'it said nothing'}")
    answer, msi = _answers(completed, commands)
    if answer.number("interface") != INTERFACE:
        raise PassthruError(
            f"the guest's module {MODULE} speaks version {answer['interface']} of its commands, where {INTERFACE} is"
            " spoken here; build it from this passthru's sources"
        )
    vectors = {kind: answer.number(kind) for kind in KINDS}
    usable = {kind: min(count, MOST_VECTORS) for kind, count in vectors.items()}
    return About(
        kind=answer["kind"],
        identification=answer.number("id"),
        buffer=answer.number("buffer"),
        page=answer.number("page"),
        vectors=vectors,
        usable={**usable, "msi": msi.number("vectors")},
    )


async def ask(context: Context, commands: Iterable[str]) -> list[Answer]:
    """Run ``commands`` in one go; the answers in their order, one for each."""
    lines = list(commands)
    completed = await context.run(_script(context.the_device.address, lines))
    return _answers(completed, lines)


def _script(address: str, commands: Iterable[str]) -> str:
    node = f"/dev/passthru-dma-{address}"
    script = "\n".join(commands)
    return f"""\
[ -d /sys/module/{MODULE} ] || {{ uname -r >&2; exit {_NO_MODULE}; }}
set -- /sys/bus/*/devices/{address}
[ -d "$1" ] || exit {_NO_DEVICE}
[ -c {node} ] || {{ dmesg | grep -F {MODULE} | tail -n 1 >&2; exit {_NOT_BOUND}; }}
exec 3<>{node} || exit
cat >&3 <<'.'
{script}
.
cat <&3
"""


def _answers(completed: Completed, commands: list[str]) -> list[Answer]:
    lines = completed.stdout.decode(errors="replace").splitlines()
    if completed.status != 0 or len(lines) != len(commands):
        said = completed.stderr.decode(errors="replace").strip() or "nothing"
        raise PassthruError(
            f"the driver {MODULE} answered {len(lines)} of {len(commands)} commands (status {completed.status}, and"
            f" the guest's shell said {said}); without its answers nothing can be judged"
        )
    found = [parse(line) for line in lines]
    for command, answer in zip(commands, found, strict=True):
        if answer.word not in (command.split(" ", 1)[0], "error"):
            raise PassthruError(f'the driver {MODULE} answered "{answer.line}" to the command "{command}"')
    return found


def parse(line: str) -> Answer:
    """One line of the driver."""
    word, _, rest = line.partition(" ")
    if word == "error":
        return Answer(line, word, refusal=rest)
    pairs = dict(pair.split("=", 1) for pair in rest.split() if "=" in pair)
    refusal = f"error {pairs['error']}" if "error" in pairs else ""
    return Answer(line, word, pairs, refusal)
