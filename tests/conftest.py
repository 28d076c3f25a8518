# SPDX-License-Identifier: GPL-2.0-or-later
"""Plugins of the tests: pytest's own for testing plugins, and ours, where its entry point is not installed yet."""

from __future__ import annotations

import signal
from importlib.metadata import entry_points
from pathlib import Path

import pytest

INSTALLED = bool(entry_points(group="pytest11", name="passthru"))

pytest_plugins = ["pytester"] if INSTALLED else ["pytester", "passthru.pytest_plugin"]

_VMS = Path(__file__).parent / "e2e"
_SHARED = _VMS / "rig"
"""Most of its tests share one rig; the others boot their own."""


def pytest_configure() -> None:
    """A background job of a shell, or one of nohup's, ignores some signals, and so would all that tests start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before the plugin looks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes (``make test``), one runs all of a file; tests with VMs that share nothing go anywhere."""
    for item in items:
        if item.path.parent in (_VMS, _SHARED) and not _shares(item):
            continue
        together = _SHARED if _SHARED in item.path.parents else item.path
        item.add_marker(pytest.mark.xdist_group(str(together)))


def _shares(item: pytest.Item) -> bool:
    """Whether a test has fixtures of this project's that outlive it."""
    if not isinstance(item, pytest.Function):
        return True
    known = (definitions[-1] for definitions in item._fixtureinfo.name2fixturedefs.values())
    return any(one.scope != "function" and one.baseid.startswith("tests") for one in known)
