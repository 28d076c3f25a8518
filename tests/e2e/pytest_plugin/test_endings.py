# SPDX-License-Identifier: GPL-2.0-or-later
"""Interruptions at any moment leave nothing running; closed stdin and pytest-xdist change nothing."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.harness import Process
from tests.e2e.pytest_plugin.project import LONGEST

if TYPE_CHECKING:
    from tests.e2e.pytest_plugin.project import Project

MOMENTS = {
    # Blocking code that would take forever, and ends by the signal.
    "preparing": """
        import select
        from passthru.run import runner

        def plan_run(*_):
            print("NOW", flush=True)
            select.select([], [], [])

        runner.plan_run = plan_run
    """,
    "booting": """
        from passthru.guest.guest import Guest

        async def ready(guest, *_):
            print("NOW", flush=True)
            await guest.wait_for_line("never said", 3600)

        Guest.ready = ready
    """,
    "testing": "",
}

ENDLESS = """
    from passthru.pytest_plugin import machine_fixture
    card = machine_fixture("mtty", scope="{scope}")

    async def test_it(card):
        print("NOW", flush=True)
        await card.guest.run("while :; do :; done", timeout=3600)

    async def test_next(card):
        print("not reached")
"""


@pytest.mark.parametrize(
    ("moment", "number", "scope"),
    [
        ("preparing", signal.SIGINT, "session"),
        ("booting", signal.SIGINT, "session"),
        ("booting", signal.SIGINT, "function"),
        ("booting", signal.SIGKILL, "session"),
        ("testing", signal.SIGINT, "session"),
        ("testing", signal.SIGINT, "function"),
        ("testing", signal.SIGTERM, "session"),
    ],
)
def test_an_interruption_leaves_nothing_running(
    project: Project, moment: str, number: signal.Signals, scope: str
) -> None:
    project.write(conftest=MOMENTS[moment], test_it=ENDLESS.format(scope=scope))
    with Process(
        project.command("-s"), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "NOW" in line:
                break
        else:
            raise AssertionError("".join(seen))
        process.send_signal(number)
        rest, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == (2 if number is signal.SIGINT else -number), rest
    assert "not reached" not in rest
    if number is signal.SIGINT:
        assert "KeyboardInterrupt" in rest
        assert "INTERNALERROR" not in rest


def test_a_boot_inside_a_test_is_interrupted(project: Project) -> None:
    project.write(
        conftest=MOMENTS["preparing"],
        test_it="""
            async def test_it(boot):
                await boot("mtty")
        """,
    )
    with Process(
        project.command("-s"), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        assert any("NOW" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 2, rest
    assert "INTERNALERROR" not in rest


TRIVIAL = """
    async def test_it(boot):
        machine = await boot("mtty")
        assert await machine.guest.succeed("echo there") == "there\\n"
"""


def test_closed_standard_input(project: Project) -> None:
    project.write(test_it=TRIVIAL)
    command = " ".join(f"'{word}'" for word in project.command("-s"))
    ended = subprocess.run(["sh", "-c", f"exec {command} <&-"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_workers_of_xdist_have_guests_of_their_own(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(
        conftest="""
            from passthru.pytest_plugin import machine_fixture
            card = machine_fixture("mtty", scope="session")
        """,
        test_it="""
            import pytest

            @pytest.mark.parametrize("number", range(4))
            async def test_passes(card, number):
                await card.guest.succeed("true")

            async def test_fails(card):
                await card.guest.succeed("echo seen from afar; false")
        """,
    )
    result = project.run("-n", "2")
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        ["*the last commands in the guest*", "  | seen from afar", str(project.pytester.path) + "*"]
    )
