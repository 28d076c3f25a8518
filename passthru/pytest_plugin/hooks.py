# SPDX-License-Identifier: GPL-2.0-or-later
"""The hooks. They are in every pytest session on a machine with passthru, so what they need is imported when it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.pytest_plugin import options

if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from passthru.pytest_plugin.ledger import Ledger

LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
"""Where a session that uses guests keeps what it knows of them."""

MARKERS = (
    "passthru_needs(*capabilities): skip the test, naming the first that is missing: root, network, kvm, vfio-user, "
    "program:NAME, qemu>=VERSION, kernel>=VERSION, kernel:OPTION",
    "passthru_allow_trouble(*patterns): a splat in the guest's kernel, or the death of the guest or of a device "
    "server, does not fail the test; with patterns, only one that matches",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare our options."""
    options.add(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Declare our markers, and bring the fixtures in if pytest-asyncio is there to run them."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if config.pluginmanager.hasplugin("asyncio"):
        from passthru.pytest_plugin import fixtures as provided
    else:
        from passthru.pytest_plugin import no_asyncio as provided  # type: ignore[no-redef]
    config.pluginmanager.register(provided, "passthru-fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip for missing capabilities; a test whose guest is dead already is an error that says why."""
    if not _concerns(item):
        return (yield)
    from passthru.pytest_plugin import watch
    from passthru.pytest_plugin.ledger import ledger_of

    ledger = ledger_of(item.config)
    ledger.begin(item)
    watch.before_setup(item, ledger)
    result = yield
    watch.after_setup(item, ledger)
    return result


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that passes fails by what its guests complained about meanwhile."""
    if not _concerns(item):
        return (yield)
    from passthru.pytest_plugin import watch
    from passthru.pytest_plugin.ledger import ledger_of

    ledger = ledger_of(item.config)
    try:
        result = yield
    except (KeyboardInterrupt, pytest.exit.Exception):
        raise
    except BaseException:
        watch.after_failure(item, ledger)
        raise
    watch.after_success(item, ledger)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """The same for what the fixtures do when they end."""
    if not _concerns(item):
        return (yield)
    from passthru.pytest_plugin import watch
    from passthru.pytest_plugin.ledger import ledger_of

    result = yield
    watch.after_teardown(item, ledger_of(item.config))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what its guests said last, and where their run directories are."""
    if call.excinfo is None or not _concerns(item):
        return (yield)
    from passthru.pytest_plugin import traceback
    from passthru.pytest_plugin.ledger import ledger_of

    if not item.config.getoption("fulltrace", False):
        traceback.prune(call.excinfo.value)
    report = yield
    if report.failed:
        for record in ledger_of(item.config).touched:
            report.sections += record.sections()
    return report


def _concerns(item: pytest.Item) -> bool:
    """Whether a test may have to do with guests: by a fixture, by a marker, or since there are any in its session."""
    return (
        LEDGER in item.config.stash
        or not _FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
        or any(item.iter_markers("passthru_needs"))
    )


_FIXTURES = frozenset({"boot", "boot_module", "boot_session"})
