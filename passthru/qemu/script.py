# SPDX-License-Identifier: GPL-2.0-or-later
"""``qemu.sh``: a shell script that starts the same VM with its companions by hand, without passthru."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.qemu.argv import QMP, SERIAL, guest_argv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from passthru.qemu.accelerator import Accelerator
    from passthru.qemu.argv import Vm
    from passthru.qemu.binary import Qemu

_SOCKET = re.compile(r"\{socket:([^{}]*)\}")
_OTHER = re.compile(r"\{(?:stream|listen):[^{}]*\}")

_TEXT = """\
#!/bin/sh
# {what}, started by hand: another VM, the same in all that matters.
# The {terminal} is this terminal: Ctrl-A X ends QEMU, Ctrl-A C changes to QEMU's monitor and back, Ctrl-A H is help.
# In the directory that is named at the start: {sockets}.
set -eu

work=$(mktemp -d /tmp/passthru.XXXXXX)
children=
vm=
# QEMU first: one whose companion has just died may wait for its answer for a minute.
end() {{
    status=$?
    trap - EXIT
    [ -z "$vm" ] || {{ kill "$vm" 2>/dev/null && wait "$vm"; }} || :
    [ -z "$children" ] || kill $children 2>/dev/null || :
    wait
    rm -rf "$work"
    exit "$status"
}}
trap end EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Wait until companion $1 (process $2) listens at socket $3; after 20 s it is given up.
listening() {{
    tries=0
    until [ -S "$3" ]; do
        tries=$((tries + 1))
        if [ "$tries" -gt 400 ] || ! kill -0 "$2" 2>/dev/null; then
            echo "qemu.sh: $1 did not come up; start its command alone to see why" >&2
            exit 1
        fi
        sleep 0.05
    done
}}

# Wait until companion $1 (process $2) has said $3; after 20 s it is given up.
said() {{
    tries=0
    until grep -qF "$3" "$work/$1.out" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 400 ] || ! kill -0 "$2" 2>/dev/null; then
            echo "qemu.sh: $1 did not come up; start its command alone to see why" >&2
            exit 1
        fi
        sleep 0.05
    done
}}

echo "qemu.sh: sockets are in $work" >&2{then}
{companions}
# In the background, so that a signal to this script ends it at once; with this terminal all the same, which sh would
# take away from it under the number 0.
exec 3<&0
{qemu} <&3 3<&- &
vm=$!
exec 3<&-
status=0
wait "$vm" || status=$?
exit "$status"
"""

_COMPANION = """
{command} &
children="$children $!"
{waits}"""


@dataclass(frozen=True)
class Companion:
    """A process that stands beside QEMU; ``argv`` as the worker got it, its placeholders included."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    directory: str | None = None
    """Where it runs; None: where the script does."""
    socket: str | None = None
    """The path where it listens, where that is none of the script's own."""
    says: str = ""
    """What it prints when QEMU may start; then it is not waited for at a socket, and the sockets are QEMU's."""


def by_hand(name: str, terminal: str = SERIAL) -> str:
    """A stream for a person: one (the serial line) is the terminal, the others are sockets that wait for nobody."""
    if name == terminal:
        return f"stdio,id={name},mux=on,signal=off"
    return f"socket,id={name},path={{socket:{name}}},server=on,wait=off"


def qemu_sh(
    qemu: Qemu,
    accelerator: Accelerator,
    vm: Vm,
    companions: Sequence[Companion] = (),
    *,
    what: str = "The guest of a run of passthru, with its companions",
    terminal: str = SERIAL,
    then: Sequence[str] = (),
) -> str:
    """The script's text; ``terminal`` is the stream that is the terminal, ``then`` are lines that it shows first.

    Raises ValueError for a companion that needs a stream, which a shell cannot give.
    """
    argv = (*guest_argv(qemu, accelerator, vm, lambda name: by_hand(name, terminal)), "-monitor", f"chardev:{terminal}")
    titles = {line.stream: line.title for line in vm.lines if line.title and line.stream != terminal}
    titles |= {SERIAL: "the serial line"} if terminal != SERIAL else {}
    titles |= {name: f"the line of {device.driver}" for device in vm.devices for name in device.streams}
    return _TEXT.format(
        sockets=", ".join(f"{stream} is {title}" for stream, title in {**titles, QMP: "QMP"}.items()),
        what=what,
        terminal="serial line" if terminal == SERIAL else f"console {terminal}",
        then="".join(f"\necho {shlex.quote(line)} >&2" for line in then),
        companions="".join(map(_companion, companions)),
        qemu=_command(argv, qemu.env),
    )


def _companion(companion: Companion) -> str:
    argv = _listening_by_path(companion.argv)
    name = shlex.quote(companion.name)
    sockets = () if companion.says else _SOCKET.findall(" ".join(argv))
    waits = [f'listening {name} "$!" {_word(f"{{socket:{socket}}}")}\n' for socket in sockets]
    if companion.says:
        waits.append(f'said {name} "$!" {shlex.quote(companion.says)}\n')
    if companion.socket is not None:
        waits.append(f'listening {name} "$!" {shlex.quote(companion.socket)}\n')
    command = _command(argv, companion.env)
    if companion.directory is not None:
        command = f"(cd {shlex.quote(companion.directory)} && exec {command})"
    if companion.says:
        command += f' >"$work"/{name}.out'
    return _COMPANION.format(command=command, waits="".join(waits))


def _listening_by_path(argv: Sequence[str]) -> list[str]:
    """Our servers take ``--listen-fd N`` or ``--socket PATH``; a shell has no descriptors to hand over."""
    words = list(argv)
    for place, word in enumerate(words):
        if word == "--listen-fd" and place + 1 < len(words):
            words[place : place + 2] = "--socket", words[place + 1].replace("{listen:", "{socket:")
    return words


def _command(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """One argument a line, an option together with its value."""
    settings = [f"{name}={value}" for name, value in sorted(env.items())]
    lines = [" ".join(map(_word, ["env", *settings]))] if settings else []
    for place, word in enumerate(argv):
        starts = word.startswith("-") or place == 0 or not argv[place - 1].startswith("-") or place == 1
        if starts or not lines:
            lines.append(_word(word))
        else:
            lines[-1] += f" {_word(word)}"
    return " \\\n    ".join(lines)


def _word(text: str) -> str:
    """Quoted for sh; a socket's placeholder becomes its path below $work."""
    if _OTHER.search(text):
        raise ValueError(f"a shell script cannot provide {text!r}")
    parts = _SOCKET.split(text)  # what is between is at odd places
    quoted = [f'"$work"/{shlex.quote(part)}' if place % 2 else shlex.quote(part) for place, part in enumerate(parts)]
    return "".join(part for part in quoted if part != "''") or "''"
