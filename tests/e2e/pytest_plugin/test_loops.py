# SPDX-License-Identifier: GPL-2.0-or-later
"""Event loops: tests and fixtures get to the loop of their guests, or a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.e2e.pytest_plugin.project import Project


def test_everybody_gets_to_the_loop_of_the_guest(project: Project) -> None:
    project.write(
        conftest="""
            import pytest_asyncio
            from passthru.pytest_plugin import machine_fixture

            card = machine_fixture("mtty", scope="session")

            @pytest_asyncio.fixture(scope="session", loop_scope="session")
            async def by_hand(boot_session):
                return await boot_session("mtty")
        """,
        test_shared="""
            import asyncio, pytest, pytest_asyncio
            from passthru.errors import UserMistake

            @pytest_asyncio.fixture(loop_scope="session")
            async def prepared(card):
                await card.guest.succeed("touch /tmp/prepared")

            @pytest_asyncio.fixture
            async def mistaken(card):
                with pytest.raises(UserMistake, match="fixture.loop_scope=.session"):
                    await card.guest.run("true")

            async def test_put_there(card, by_hand, prepared):
                await card.guest.succeed("test -e /tmp/prepared")
                await by_hand.guest.fail("test -e /tmp/prepared")

            @pytest.mark.asyncio(loop_scope="session")
            async def test_says_so_itself(card):
                await card.guest.succeed("true")

            @pytest.mark.asyncio(loop_scope="function")
            async def test_says_otherwise(card):
                with pytest.raises(UserMistake, match="mark.asyncio.loop_scope=.session"):
                    await card.guest.run("true")
                with pytest.raises(UserMistake, match="mtty lives on the event loop of the session"):
                    card.qmp

            async def test_a_fixture_on_another_loop(mistaken):
                pass

            def test_without_a_loop(card):
                assert card.devices["mtty0"].model == "mtty"
        """,
        test_own_loop="""
            import asyncio, pytest
            from passthru.pytest_plugin import machine_fixture

            pytestmark = pytest.mark.asyncio(loop_scope="module")
            plain = machine_fixture("mtty", scope="module")

            async def test_of_the_module(plain, boot):
                await plain.guest.succeed("touch /tmp/here")
                assert plain.loop is asyncio.get_running_loop()

            async def test_shared(plain):
                await plain.guest.succeed("test -e /tmp/here")
        """,
    )
    result = project.run()
    result.assert_outcomes(passed=7)
    assert len(project.runs) == 3


def test_loops_that_end_before_the_guest_are_refused(project: Project) -> None:
    project.write(
        test_it="""
            import pytest
            pytestmark = pytest.mark.asyncio(loop_scope="function")

            async def test_it(boot_module):
                pass
        """,
    )
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["guests of a module cannot live on the event loop of a function*"])


def test_a_default_loop_of_the_users(project: Project) -> None:
    project.write(
        test_it="""
            async def test_it(boot):
                machine = await boot("mtty")
                await machine.guest.succeed("true")
        """,
    )
    result = project.run("-o", "asyncio_default_test_loop_scope=session")
    result.assert_outcomes(passed=1)
