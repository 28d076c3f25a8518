# SPDX-License-Identifier: GPL-2.0-or-later
"""Plugins of the tests: pytest's own for testing plugins, and ours, where its entry point is not installed yet."""

from __future__ import annotations

from importlib.metadata import entry_points

INSTALLED = bool(entry_points(group="pytest11", name="passthru"))

pytest_plugins = ["pytester"] if INSTALLED else ["pytester", "passthru.pytest_plugin"]
