# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu.sh, run with a program in QEMU's place that writes down how it was started."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.qemu.accelerator import tcg
from passthru.qemu.argv import Vm, guest_argv, vfio_user
from passthru.qemu.script import Companion, _word, by_hand, qemu_sh

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.qemu.binary import Qemu

SECONDS = 30.0
ODD = 'it\'s="$HOME" `id` \\ *\n# %s {x} {socket:'

# Tells its environment's word and its arguments, then (if told to) that it is up, and waits for a signal.
RECORDER = r"""#!/bin/sh
{ printf '%s\0' "$WORD" "$@"; } >"$0.got"
cat >"$0.stdin"
[ ! -p "$0.up" ] || { echo $$ >"$0.up"; exec sleep 600; }
exit 7
"""
SERVER = "import signal,socket,sys;s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[2]);s.listen();signal.pause()"


@pytest.fixture
def recorder(script: Callable[[str, str], Path]) -> Path:
    return script("record er", RECORDER)


@pytest.fixture
def recorded(qemu: Qemu, recorder: Path) -> Qemu:
    return replace(qemu, command=(str(recorder), "-L", ODD), env={"WORD": ODD})


def run(text: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text], input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)


def got(recorder: Path) -> list[str]:
    return Path(f"{recorder}.got").read_text().split("\0")[:-1]


def test_every_argument_arrives_as_it_is(recorded: Qemu, recorder: Path) -> None:
    vm = Vm(Path("/boot/the kernel"), Path("/i"), ODD, devices=(vfio_user("mtty0", "mtty"),), extra=("-d", ODD, ""))
    companion = Companion("mtty", (sys.executable, "-c", SERVER, "--listen-fd", "{listen:mtty}"))
    done = run(qemu_sh(recorded, tcg(), vm, [companion]), stdin="typed\n")
    assert done.returncode == 7, done.stderr
    work = done.stderr.splitlines()[0].removeprefix("qemu.sh: sockets are in ")
    wanted = [word.replace("{socket:mtty}", f"{work}/mtty") for word in guest_argv(recorded, tcg(), vm, by_hand)]
    wanted = [word.replace("{socket:agent}", f"{work}/agent") for word in wanted]
    wanted = [word.replace("{socket:shell}", f"{work}/shell").replace("{socket:qmp}", f"{work}/qmp") for word in wanted]
    assert got(recorder) == [ODD, *wanted[1:], "-monitor", "chardev:ttyS0"]
    assert Path(f"{recorder}.stdin").read_text() == "typed\n"
    assert not Path(work).exists()


def test_a_companion_that_does_not_come_up_is_named(recorded: Qemu, recorder: Path) -> None:
    companion = Companion("the server", ("false", "{socket:mtty}"))
    done = run(qemu_sh(recorded, tcg(), Vm(Path("/k"), None, ""), [companion]))
    assert done.returncode == 1
    assert "qemu.sh: the server did not come up" in done.stderr
    assert not Path(f"{recorder}.got").exists()
    assert not Path(done.stderr.splitlines()[0].partition(" in ")[2]).exists()


def test_a_signal_to_the_script_ends_all_of_it(recorded: Qemu, recorder: Path) -> None:
    up = Path(f"{recorder}.up")
    os.mkfifo(up)
    companion = Companion("mtty", (sys.executable, "-c", SERVER, "--socket", "{socket:mtty}"))
    text = qemu_sh(recorded, tcg(), Vm(Path("/k"), None, ""), [companion])
    child = subprocess.Popen(["sh", "-c", text], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with child:
        vm = os.pidfd_open(int(first_line(up)))
        child.send_signal(signal.SIGTERM)
        assert child.wait(SECONDS) == 143
        poll = select.poll()
        poll.register(vm, select.POLLIN)
        assert poll.poll(SECONDS * 1000)
        os.close(vm)
        assert child.stderr
        said = child.stderr.read()  # ends when nobody holds it any more: neither QEMU nor the companion
    assert not Path(said.splitlines()[0].partition(" in ")[2]).exists()


def first_line(pipe: Path) -> str:
    """Of a named pipe whose writer is to come."""
    fd = os.open(pipe, os.O_RDWR)
    try:
        assert select.select([fd], [], [], SECONDS)[0]
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)


@pytest.mark.parametrize("word", ["fd={stream:x}", "{listen:mtty}"])
def test_what_a_shell_cannot_provide_is_refused(qemu: Qemu, word: str) -> None:
    with pytest.raises(ValueError, match="cannot provide"):
        qemu_sh(qemu, tcg(), Vm(Path("/k"), None, ""), [Companion("odd", ("server", word))])


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_any_text_is_one_word(text: str) -> None:
    quoted = _word(text + "{socket:a b}" + text)
    environment = {"work": "/w $x", "PATH": os.defpath, "LC_ALL": "C"}
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\0' {quoted}"], env=environment, capture_output=True, timeout=SECONDS, check=True
    )
    assert done.stdout == f"{text}/w $x/a b{text}\0".encode()
