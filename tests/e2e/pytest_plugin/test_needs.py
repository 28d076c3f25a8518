# SPDX-License-Identifier: GPL-2.0-or-later
"""Markers for capabilities, options, and what the plugin costs those who do not use it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.pytest_plugin.project import Project

EXAMPLE = Path(__file__).parent.parent / "example"

NEEDS = """
    import pytest

    @pytest.mark.passthru_needs("program:sh", "program:no-such-program")
    def test_program():
        pass

    @pytest.mark.passthru_needs("vfio-user", "qemu>=10.1", "kernel >= 4", "kernel:PCI=y")
    def test_there_is():
        pass

    @pytest.mark.passthru_needs("qemu>=999")
    def test_qemu():
        pass

    @pytest.mark.passthru_needs("kernel:NO_SUCH_OPTION")
    async def test_guest(boot):
        await boot("mtty")

    @pytest.mark.passthru_needs("kvm")
    def test_kvm():
        pass

    @pytest.mark.passthru_needs("kmv")
    def test_mistaken():
        pass
"""


def test_a_missing_capability_is_named(project: Project) -> None:
    project.write(test_it=NEEDS)
    result = project.run("--passthru-accel=tcg")
    result.assert_outcomes(passed=1, skipped=4, errors=1)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED * test_it.py:*: needs program:no-such-program: there is no no-such-program on PATH",
            "SKIPPED * test_it.py:*: needs qemu>=999: the guest's is QEMU *",
            "SKIPPED * test_it.py:*: needs kernel:NO_SUCH_OPTION: the kernel *has no CONFIG_NO_SUCH_OPTION",
            "SKIPPED * test_it.py:*: needs kvm: guests are emulated by --passthru-accel",
            "passthru_needs: there is no capability 'kmv'; there are: root, network, kvm, *",
        ]
    )


def test_skips_can_be_failures(project: Project) -> None:
    project.write(test_it=NEEDS)
    result = project.run("--passthru-accel=tcg", "--passthru-no-skip")
    result.assert_outcomes(passed=1, failed=1, errors=4)
    result.stdout.fnmatch_lines(["needs qemu>=999: the guest's is QEMU * (--passthru-no-skip)"])


def test_what_a_shared_guest_lacks_skips_only_the_test_that_needs_it(project: Project) -> None:
    project.write(
        conftest="""
            from passthru.pytest_plugin import machine_fixture
            card = machine_fixture("mtty", scope="session")
        """,
        test_it="""
            import pytest

            @pytest.mark.passthru_needs("kernel>=999")
            async def test_skipped(card):
                pass

            async def test_passes(card):
                await card.guest.succeed("true")
        """,
    )
    result = project.run()
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize("option", [(), ("--passthru-no-skip",)])
def test_a_check_that_lacks_something_skips_the_test(project: Project, option: tuple[str, ...]) -> None:
    project.write(
        test_it="""
            async def test_it(boot):
                machine = await boot("mtty")
                await machine.guest.succeed("rm $(which setserial)")
                assert (await machine.judge(machine.scenario.check["setserial"])).verdict == "skipped"
                await machine.check(machine.scenario.check["setserial"])
                raise AssertionError("not reached")
        """,
    )
    result = project.run(*option)
    result.assert_outcomes(skipped=0 if option else 1, failed=1 if option else 0)
    result.stdout.fnmatch_lines(["*the check setserial was skipped: *setserial*"])


def test_no_network(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSTHRU_DEBIAN_MIRROR", "http://127.0.0.1:1/debian")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    project.write(
        test_it="""
            import pytest

            @pytest.mark.passthru_needs("network")
            def test_it():
                pass
        """,
    )
    result = project.run()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED *: needs network: http://127.0.0.1:1/debian does not answer: *"])


@pytest.mark.skipif(os.geteuid() != 0, reason="as another user it is missing")
def test_root(project: Project) -> None:
    project.write(
        test_it="""
            import pytest

            @pytest.mark.passthru_needs("root")
            def test_it():
                pass
        """,
    )
    project.run("--passthru-no-skip").assert_outcomes(passed=1)


def test_options_hold_for_all_guests_and_may_be_in_the_ini_file(project: Project) -> None:
    project.write(
        test_it="""
            from passthru.pytest_plugin import machine_fixture, scenario
            card = machine_fixture(scenario(kernel="debian:sid"), scope="session")

            async def test_it(card):
                pass
        """,
    )
    result = project.run("--passthru-kernel=/no/such/kernel")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the kernel /no/such/kernel cannot be read: *"])
    result = project.run("-o", "passthru_qemu=/no/such/qemu")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["/no/such/qemu cannot be used as QEMU: *"])
    (project.pytester.path / "file").write_text("in the way")
    result = project.run("--passthru-runs=file")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["cannot write a run directory in *file*"])


def test_who_does_not_use_it_does_not_load_it(project: Project) -> None:
    project.write(
        test_it="""
            import sys

            def test_it():
                loaded = {name for name in sys.modules if name.partition(".")[0] in ("passthru", "pydantic", "qemu")}
                assert loaded <= {"passthru", *(f"passthru.pytest_plugin{room}" for room in
                                                ("", ".hooks", ".options", ".fixtures"))}
        """,
    )
    project.run().assert_outcomes(passed=1)


def test_without_pytest_asyncio_a_sentence(project: Project) -> None:
    project.write(
        test_it="""
            from passthru.pytest_plugin import scenario

            def test_unconcerned():
                pass

            def test_it(boot):
                pass
        """,
    )
    result = project.run("-p", "no:asyncio", "-o", "filterwarnings=default")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["passthru's fixtures need pytest-asyncio*"])


def test_the_example_works_where_it_is_copied_to(project: Project) -> None:
    for path in EXAMPLE.glob("*.py"):
        (project.pytester.path / path.name).write_bytes(path.read_bytes())
    (project.pytester.path / "tox.ini").unlink()  # pytest's defaults are enough
    result = project.run("-W", "error::pytest.PytestWarning", "-o", "asyncio_default_fixture_loop_scope=function")
    result.assert_outcomes(passed=8)
