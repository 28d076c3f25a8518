# SPDX-License-Identifier: GPL-2.0-or-later
"""passthru in pytest: guests with passed-through devices as fixtures.

    # conftest.py
    from passthru.pytest_plugin import device, machine_fixture, scenario

    card = machine_fixture("mtty", scope="session")             # a scenario, by name or file
    plain = machine_fixture(scenario(kernel="debian:trixie/cloud", modules=["8250_pci"], cmdline="quiet",
                                     devices={"mtty0": device("mtty", ports=1)}))   # a guest in code, for each test

    # test_card.py
    async def test_it_is_a_serial_card(card: Machine) -> None:
        assert "4348:3253" in await card.guest.succeed("lspci -n -s 05.0")
        await card.check("serial-loopback", device="mtty0", bytes=15)

    async def test_two_of_them(boot: Boot) -> None:
        one, other = await boot("mtty"), await boot("mtty", "device.mtty0.ports=1")

A Machine has ``guest`` (run, succeed, fail, wait_until_succeeds, upload, kernel_log, ...), ``qmp``, ``devices``,
``directory`` (the run directory), ``check`` and ``judge``. A failure shows the last commands in the guest with their
outputs, its kernel's last lines, and the run directory. A splat in the kernel's log fails the test in which it
came; a guest, QEMU or device server that dies breaks whatever waits for it at once, and later tests that share it are
errors that say in which test and why it died (``@pytest.mark.passthru_allow_trouble`` allows both).

Event loops: a guest lives on the loop that booted it. ``boot``, and ``machine_fixture`` of function scope, use the loop
of the test; shared guests use the session's, and async tests that use them are put there by themselves. An async
fixture of yours that speaks to a shared guest says so: ``@pytest_asyncio.fixture(loop_scope="session")``. Whoever
names another loop (``@pytest.mark.asyncio(loop_scope="module")`` for a whole module, say) gets guests of that module
there. On the wrong loop the first use of a guest says what to write.

``@pytest.mark.passthru_needs("kvm", "qemu>=10.1", "kernel:IKCONFIG")`` skips a test, naming what is missing (see
``needs``); ``--passthru-no-skip`` has it fail. ``--passthru-qemu``, ``--passthru-kernel``, ``--passthru-accel`` and
``--passthru-runs`` hold for all guests; each is an ini key too (``passthru_qemu``). With pytest-xdist each worker boots
session guests of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from passthru.pytest_plugin.hooks import (
    pytest_addoption,
    pytest_configure,
    pytest_runtest_call,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    pytest_runtest_teardown,
)

if TYPE_CHECKING:
    from passthru.pytest_plugin.boot import Boot
    from passthru.pytest_plugin.fixtures import machine_fixture
    from passthru.pytest_plugin.in_code import device, scenario
    from passthru.pytest_plugin.machine import CheckFailed, CheckNotJudged, Machine

__all__ = [
    "Boot",
    "CheckFailed",
    "CheckNotJudged",
    "Machine",
    "device",
    "machine_fixture",
    "pytest_addoption",
    "pytest_configure",
    "pytest_runtest_call",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "pytest_runtest_teardown",
    "scenario",
]

_HOMES = {
    "Boot": "boot",
    "CheckFailed": "machine",
    "CheckNotJudged": "machine",
    "Machine": "machine",
    "device": "in_code",
    "machine_fixture": "fixtures",
    "scenario": "in_code",
}


def __getattr__(name: str) -> Any:
    # Every pytest session imports this module; what tests import from it comes when they do.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
