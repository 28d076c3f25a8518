# SPDX-License-Identifier: GPL-2.0-or-later
"""The fixtures: factories that boot guests, on the event loop of the test that asks.

Each factory is an async fixture of pytest-asyncio with a scope (how long its guests live) and a loop scope (on whose
event loop they live), since guests are bound to the loop that booted them. ``boot`` takes the loop of its test; the
shared ones take the session's, or the one that the ``asyncio`` marker of their module names. An async test that uses a
shared one, and does not say on which loop it runs, is put on the session's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from passthru.pytest_plugin.boot import Boot
    from passthru.pytest_plugin.machine import Machine
    from passthru.scenario.models import Scenario

Scope = Literal["function", "module", "session"]
LoopScope = Literal["function", "class", "module", "package", "session"]
_ORDER: tuple[LoopScope, ...] = ("function", "class", "module", "package", "session")
_SCOPES: tuple[Scope, ...] = ("function", "module", "session")
_SHARED = frozenset({"boot_module", "boot_session"})


def machine_fixture(what: str | Path | Scenario, *overrides: str, scope: Scope = "function") -> Any:
    """A fixture that boots ``what`` and gives a Machine, for a conftest.py or a test module:

        card = machine_fixture("mtty", "device.mtty0.ports=1", scope="session")

    ``what`` and ``overrides`` are those of ``Boot``; ``scope`` is for how long the guest lives.
    """

    # The names of the arguments are how pytest, and the choice of a test's event loop, see what is used.
    def of_function(boot: Boot) -> Machine:
        return boot.now(what, *overrides)

    def of_module(boot_module: Boot) -> Machine:
        return boot_module.now(what, *overrides)

    def of_session(boot_session: Boot) -> Machine:
        return boot_session.now(what, *overrides)

    functions: dict[Scope, Callable[[Any], Machine]] = {
        "function": of_function,
        "module": of_module,
        "session": of_session,
    }
    return pytest.fixture(scope=scope)(functions[scope])


@pytest.fixture
def boot(request: pytest.FixtureRequest) -> Boot:
    """Boots guests for one test: ``machine = await boot("mtty")``, by name, file, or ``scenario()``."""
    return _factory(request, "function", _default_loop_scope(request.config))


@pytest.fixture(scope="module")
def boot_module(request: pytest.FixtureRequest) -> Boot:
    """Boots guests that the tests of a module share; on the session's event loop."""
    return _factory(request, "module", "session")


@pytest.fixture(scope="session")
def boot_session(request: pytest.FixtureRequest) -> Boot:
    """Boots guests that all tests share; on the session's event loop."""
    return _factory(request, "session", "session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put async tests that use a shared guest on the session's loop, unless they name one."""
    for item in items:
        if _SHARED.isdisjoint(getattr(item, "fixturenames", ())):
            continue
        marker = item.get_closest_marker("asyncio")
        if marker is not None and _named_loop_scope(item) is None:
            kept = {**marker.kwargs, "loop_scope": "session"}
            item.add_marker(pytest.mark.asyncio(**kept), append=False)


def _factory(request: pytest.FixtureRequest, scope: Scope, default: str) -> Boot:
    loop_scope = _named_loop_scope(request.node) or default
    if _name(scope, loop_scope) not in _homes:
        pytest.fail(
            f"guests of a {scope} cannot live on the event loop of a {loop_scope}, which ends before them: mark the "
            f'tests with @pytest.mark.asyncio(loop_scope="{scope}")',
            pytrace=False,
        )
    made: Boot = request.getfixturevalue(_name(scope, loop_scope))
    return made


def _named_loop_scope(node: Any) -> str | None:
    """What the closest asyncio marker says."""
    marker = node.get_closest_marker("asyncio")
    return (marker.kwargs.get("loop_scope") or marker.kwargs.get("scope")) if marker is not None else None


def _default_loop_scope(config: pytest.Config) -> str:
    try:
        return str(config.getini("asyncio_default_test_loop_scope"))
    except ValueError:  # pytest-asyncio before 0.26 has no such key
        return "function"


def _name(scope: str, loop_scope: str) -> str:
    return f"_passthru_{scope}_on_{loop_scope}"


def _home(scope: Scope, loop_scope: LoopScope) -> Any:
    """The async fixture that holds the guests of a scope on a loop, and ends them on it."""

    @pytest_asyncio.fixture(scope=scope, loop_scope=loop_scope, name=_name(scope, loop_scope))
    async def home(request: pytest.FixtureRequest) -> AsyncIterator[Boot]:
        from passthru.pytest_plugin.boot import Boot
        from passthru.pytest_plugin.ledger import ledger_of

        async with contextlib.AsyncExitStack() as stack:
            yield Boot(ledger_of(request.config), stack, shared=scope != "function", loop_scope=loop_scope)

    return home


_homes = {
    _name(scope, loop_scope): _home(scope, loop_scope)
    for scope in _SCOPES
    for loop_scope in _ORDER[_ORDER.index(scope) :]
}
globals().update(_homes)  # where pytest looks for fixtures
