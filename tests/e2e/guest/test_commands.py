# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in a real guest whose agent has a line of its own: outputs and exit status, exactly."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from passthru.guest.commands import CommandFailed, CommandLost, CommandTimeout, Completed, OutputIncomplete
from tests.e2e.guest.machine import Parts, booted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from passthru.guest.guest import Guest

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guest(parts: Parts) -> AsyncIterator[Guest]:
    """One guest for all of this file: each test leaves its shell usable."""
    async with booted(parts) as machine:
        yield machine.guest


async def test_outputs_and_status(guest: Guest) -> None:
    assert await guest.run("echo out; echo err >&2; exit 3") == Completed(b"out\n", b"err\n", 3)
    assert await guest.run("printf 'no newline'") == Completed(b"no newline", b"", 0)
    assert await guest.run("") == Completed(b"", b"", 0)
    assert (await guest.run("no-such-command")).status == 127
    assert await guest.run("kill -9 $$") == Completed(b"", b"", 137)
    assert await guest.run("kill -INT $$") == Completed(b"", b"", 130)
    assert await guest.run("cat") == Completed(b"", b"", 0)


async def test_a_mebibyte_of_anything(guest: Guest) -> None:
    completed = await guest.run(
        "head -c 1048576 /dev/urandom >/tmp/random; sha256sum </tmp/random >&2; cat /tmp/random"
    )
    assert len(completed.stdout) == 1048576
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()


async def test_every_byte_on_both_outputs(guest: Guest) -> None:
    every_byte = bytes(range(256))
    await guest.upload(every_byte * 40, "/tmp/every byte")
    assert await guest.download("/tmp/every byte") == every_byte * 40
    completed = await guest.run("cat '/tmp/every byte' >&2; cat '/tmp/every byte'")
    assert (completed.stdout, completed.stderr) == (every_byte * 40, every_byte * 40)


async def test_output_that_looks_like_the_protocol(guest: Guest) -> None:
    lines = "".join(f"exit {job} 0 5 5 ok\nend {job}\nhello 1 other 6.1\npong 1\n" for job in range(60))
    script = f"cat <<'.'\n{lines}.\n"
    assert (await guest.run(script)).stdout == lines.encode()


async def test_scripts_arrive_as_written(guest: Guest) -> None:
    text = " \t leading, trailing, \\backslash\\n %s 'quotes' é \x7f\x01 \r\n" * 4000
    assert (await guest.run(f"cat <<'.'\n{text}.\n")).stdout == text.encode()
    assert (await guest.run("if true\nthen\n\techo 'a\n  b'\nfi  ")).stdout == b"a\n  b\n"


async def test_several_at_once(guest: Guest) -> None:
    completed = await asyncio.gather(*(guest.run(f"sleep 0.{9 - n}; echo {n}; exit {n}") for n in range(9)))
    assert [(each.stdout, each.status) for each in completed] == [(b"%d\n" % n, n) for n in range(9)]


async def test_a_command_that_never_ends_is_killed_with_all_of_its_session(guest: Guest) -> None:
    with pytest.raises(CommandTimeout) as caught:
        await guest.run("echo so far; echo and this >&2; sleep 4321 & while :; do :; done", timeout=0.3)
    assert caught.value.stdout == b"so far\n"
    assert caught.value.stderr == b"and this\n"
    assert "so far" in str(caught.value)
    assert b"4321" not in (await guest.run("ps | grep '[4]321'")).stdout
    assert await guest.run("echo usable") == Completed(b"usable\n", b"", 0)


async def test_a_command_given_up_is_killed_too(guest: Guest) -> None:
    task = asyncio.create_task(guest.run("touch /tmp/started; sleep 5432"))
    await guest.wait_until_succeeds("test -e /tmp/started")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await guest.wait_until_succeeds("! ps | grep '[5]432'")


async def test_what_stays_in_the_background_holds_nothing_up(guest: Guest) -> None:
    assert await guest.run("(sleep 3; echo late; sleep 6543) & echo now") == Completed(b"now\n", b"", 0)
    await guest.run("kill $(ps | sed -n 's/^ *\\([0-9]*\\) .*[6]543$/\\1/p')")


async def test_jobs_that_attack_who_runs_them(guest: Guest) -> None:
    assert await guest.run("exec 1>&- 2>&-; exit 7") == Completed(b"", b"", 7)
    assert await guest.run("kill $PPID; sleep 0.1; echo alive; exit 5") == Completed(b"alive\n", b"", 5)
    with pytest.raises(CommandLost):
        await guest.run("kill -9 $PPID; sleep 1000")
    with pytest.raises(CommandLost):
        await guest.run("kill -9 -1; sleep 1000")
    assert await guest.run("echo usable") == Completed(b"usable\n", b"", 0)


async def test_the_agents_port_is_out_of_reach_and_the_console_harmless(guest: Guest) -> None:
    completed = await guest.run("for port in /dev/vport*; do echo 'exit 1 0 0 0 ok' >$port && exit 9; done; exit 4")
    assert completed.status == 4
    assert b"busy" in completed.stderr
    assert await guest.run("echo 'end 1' >/dev/ttyS0; echo 'exit 1 0 0 0 ok' >/dev/kmsg; echo x") == Completed(
        b"x\n", b"", 0
    )


async def test_a_flood_of_kernel_messages_disturbs_nothing(guest: Guest) -> None:
    await guest.run("(while :; do echo flooding the log >/dev/kmsg; done) & echo $! >/tmp/flood")
    await guest.wait_for_line("flooding the log")
    completed = await guest.run("head -c 200000 /dev/urandom >/tmp/random; sha256sum </tmp/random >&2; cat /tmp/random")
    assert completed.stderr.split()[0].decode() == hashlib.sha256(completed.stdout).hexdigest()
    await guest.succeed("kill $(cat /tmp/flood)")


async def test_output_beyond_the_guests_memory_is_told(guest: Guest) -> None:
    with pytest.raises(OutputIncomplete, match="more memory"):
        await guest.run("cat /dev/zero")
    assert await guest.run("echo usable") == Completed(b"usable\n", b"", 0)
    with pytest.raises(CommandFailed, match="No space left"):
        await guest.succeed("dd if=/dev/zero of=/tmp/large bs=1M count=300")
    await guest.succeed("rm /tmp/large")


async def test_verbs(guest: Guest) -> None:
    assert await guest.succeed("echo fine") == "fine\n"
    assert await guest.fail("echo oh; false") == "oh\n"
    with pytest.raises(CommandFailed) as caught:
        await guest.succeed("echo seen; echo why >&2; exit 3")
    for part in ("echo seen", "status 3", "| seen", "| why"):
        assert part in str(caught.value)
    with pytest.raises(CommandFailed, match="any other status"):
        await guest.fail("true")
    await guest.succeed("(sleep 0.3; touch /tmp/appeared) &")
    await guest.wait_until_succeeds("test -e /tmp/appeared && echo there")


async def test_kernel_messages_are_lines_without_time_stamps(guest: Guest) -> None:
    line = await guest.wait_for_line("^Linux version")
    assert line.startswith("Linux version 6.1")
    before = len(guest.kernel_log.lines)
    await guest.run("echo 'a message of my own' >/dev/kmsg")
    assert await guest.wait_for_line("of my own$", since=before) == "a message of my own"
    assert guest.kernel_log.splats == []
