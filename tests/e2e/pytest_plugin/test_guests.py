# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests with guests: shared and of one's own, what a failure shows, splats, deaths."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

from tests.e2e.pytest_plugin.project import SPLAT

if TYPE_CHECKING:
    from tests.e2e.pytest_plugin.project import Project

SHARED = """
    from passthru.pytest_plugin import machine_fixture
    card = machine_fixture("mtty", scope="session")
"""


def test_a_session_shares_one_guest_and_failures_show_what_it_said(project: Project) -> None:
    project.write(
        conftest=SHARED,
        test_one="""
            async def test_passes(card):
                assert "4348:3253" in await card.guest.succeed("echo from the test before; lspci -n -s 05.0")

            async def test_assertion(card):
                said = await card.guest.run("echo on stdout; echo on stderr >&2; exit 3")
                assert said.status == 0
        """,
        test_two="""
            async def test_command(card):
                await card.guest.succeed("echo before it fails; false")

            async def test_check(card):
                await card.check("serial-loopback", bytes=16, bursts=1)

            async def test_check_passes(card):
                found = await card.check("serial-loopback", bytes=15, bursts=1)
                assert found.verdict == "passed"

            async def test_check_of_the_scenario(card):
                await card.check(card.scenario.check["setserial"])
        """,
    )
    result = project.run("--junit-xml=junit.xml")
    result.assert_outcomes(passed=3, failed=3)
    assert len(project.runs) == 1
    directory = project.runs[0]
    result.stdout.fnmatch_lines(
        [
            "*test_assertion*",
            "E   *assert 3 == 0*",
            "*passthru mtty: the last commands in the guest*",
            "$ echo on stdout; echo on stderr >&2; exit 3   (status 3, *",
            "  | on stdout",
            "  | on stderr",
            "*passthru mtty: the last lines of the guest's kernel*",
            "passthru: end of test_passes",
            "*passthru mtty: the run directory*",
            str(directory),
            "QEMU *, kernel *",
            "the same guest by hand: *qemu.sh",
            "*test_command*",
            '>   *await card.guest.succeed("echo before it fails; false")',
            "E   *CommandFailed: the guest command `echo before it fails; false` ended with status 1*",
            "E   *| before it fails",
            "test_two.py:2: CommandFailed",
            "*test_check*",
            "E   *CheckFailed: the check serial-loopback failed: *ttyS1*",
            "*ttyS2*",
        ]
    )
    told = result.stdout.str()
    assert "$ echo from the test before" not in told  # only the test's own commands
    assert "passthru/guest/" not in told  # the user's frames only
    assert f'name="passthru_run_directory" value="{directory}"' in (project.pytester.path / "junit.xml").read_text()
    for name in ("events.jsonl", "scenario.json", "lock.json", "qemu.sh", "ttyS0.log", "qmp.log", "junit.xml"):
        assert (directory / name).stat().st_size > 0, name


def test_a_splat_fails_the_test_in_which_it_came(project: Project) -> None:
    project.write(
        conftest=SHARED,
        test_it=dedent(SPLAT)
        + dedent("""
            import pytest, pytest_asyncio

            async def test_guilty(card):
                await complain(card.guest)

            async def test_innocent(card):
                pass

            @pytest.mark.passthru_allow_trouble("made_up")
            async def test_on_purpose(card):
                await complain(card.guest)

            @pytest.mark.passthru_allow_trouble("another")
            async def test_another_one(card):
                await complain(card.guest)

            @pytest_asyncio.fixture(loop_scope="session")
            async def untidy(card):
                yield
                await complain(card.guest)

            async def test_whose_fixture_is_guilty(untidy):
                pass

            async def test_innocent_at_the_end(card):
                assert len(card.guest.kernel_log.splats) == 4
        """),
    )
    result = project.run()
    result.assert_outcomes(passed=4, failed=2, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "FAILED test_it.py::test_guilty*",
            "FAILED test_it.py::test_another_one*",
            "ERROR test_it.py::test_whose_fixture_is_guilty*",
            "the kernel of the guest mtty complained: WARNING: CPU: 0 PID: 1 at a.c:1 made_up+0x1/0x2",
            "    | Call Trace:",
        ]
    )


def test_a_dead_device_server_ends_all_at_once_and_says_why(project: Project) -> None:
    """Had anything waited for a guest that is gone, this would take an hour."""
    project.write(
        conftest=SHARED,
        test_it="""
            import asyncio, os, signal

            async def test_during_a_command(card):
                await card.guest.run("true")
                os.kill(card.stage.companions["mtty0"].pid, signal.SIGKILL)
                await card.guest.run("while :; do :; done", timeout=3600)

            async def test_next(card):
                await card.guest.run("true")

            async def test_next_but_one(card, boot):
                await card.guest.wait_until_succeeds("false", timeout=3600)
        """,
    )
    result = project.run()
    result.assert_outcomes(failed=1, errors=2)
    why = "the device server mtty0 was killed by SIGKILL"
    result.stdout.fnmatch_lines(
        [
            f"the guest mtty, which tests share, was lost in test_it.py::test_during_a_command: {why}*",
            f"the guest mtty, which tests share, was lost in test_it.py::test_during_a_command: {why}*",
            f"E   *GuestTrouble: {why}*",
        ]
    )


def test_a_death_that_the_test_did_not_see_fails_it(project: Project) -> None:
    project.write(
        test_it="""
            import pytest
            from passthru.errors import GuestTrouble

            async def test_unseen(boot):
                machine = await boot("mtty")
                await machine.stage.companions["mtty0"].kill()

            @pytest.mark.passthru_allow_trouble
            async def test_on_purpose(boot):
                machine = await boot("mtty")
                with pytest.raises(GuestTrouble, match="sysrq triggered crash"):
                    await machine.guest.run("echo c >/proc/sysrq-trigger; while :; do :; done", timeout=60)
        """,
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["the guest mtty was lost: the device server mtty0 was killed by SIGKILL*"])


def test_guests_of_one_test_in_code(project: Project) -> None:
    project.write(
        conftest="""
            from passthru.pytest_plugin import machine_fixture, scenario
            plain = machine_fixture(scenario("plain", cmdline="marked=here", modules=["dummy"]))
        """,
        test_it="""
            import asyncio
            from passthru.pytest_plugin import device, scenario

            async def test_fixture(plain):
                assert "marked=here" in await plain.guest.succeed("cat /proc/cmdline")
                await plain.guest.succeed("test -d /sys/module/dummy")
                assert dict(plain.devices) == {}

            async def test_two_at_once(boot):
                made = scenario(devices={"a": device("mtty", ports=1), "b": device("mtty", address="0a.0")})
                one, two = await asyncio.gather(boot(made), boot("mtty", "device.mtty0.ports=1"))
                assert (await one.guest.succeed("lspci -n")).count("4348:3253") == 2
                assert (await two.guest.succeed("lspci -n")).count("4348:3253") == 1
                assert one.devices["b"].address == "0000:00:0a.0"
                await two.qmp.execute("stop")

            async def test_a_quiet_console(boot):
                machine = await boot("mtty")
                await machine.guest.succeed("echo 1 >/proc/sys/kernel/printk")
        """,
    )
    result = project.run("--passthru-runs=elsewhere", "-W", "error")
    result.assert_outcomes(passed=3)
    names = sorted(path.name.split("-")[2] for path in (project.pytester.path / "elsewhere").glob("2*"))
    assert names == ["guest", "mtty", "mtty", "plain"]


def test_a_guest_that_does_not_come_up_is_one_sentence(project: Project) -> None:
    project.write(
        test_it="""
            from passthru.pytest_plugin import machine_fixture, scenario
            dead = machine_fixture(scenario("dead", cmdline="rdinit=/no-such-init root=/dev/none"), scope="module")
            none = machine_fixture("no-such-scenario")

            async def test_dead(dead):
                pass

            async def test_dead_again(dead):
                pass

            async def test_none(none):
                pass
        """,
    )
    result = project.run()
    result.assert_outcomes(errors=3)
    assert len(project.runs) == 1
    result.stdout.fnmatch_lines(
        [
            "the guest's kernel died: Kernel panic - not syncing*",
            "*the last lines of the guest's kernel*",
            "there is no scenario no-such-scenario; *",
        ]
    )
    assert "passthru/run" not in result.stdout.str()
