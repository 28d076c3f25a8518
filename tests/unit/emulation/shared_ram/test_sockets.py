# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's sockets: what it is told, and that whoever waits for it does not wait for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.shared_ram import qtest as module
from passthru.emulation.shared_ram.controller import find_controller
from passthru.emulation.shared_ram.qtest import QemuGone, Qtest, connect
from passthru.errors import Unusable
from tests.unit.emulation.shared_ram.made_qemu import CONTROLLER, MadeQemu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def qemu(tmp_path: Path, nothing_stays_open: None) -> Iterator[MadeQemu]:
    """QEMU with a GICv3."""
    made = MadeQemu(tmp_path)
    yield made
    made.end()


@pytest.fixture
def qtest(qemu: MadeQemu) -> Iterator[Qtest]:
    """A connection to it."""
    made = Qtest(connect(qemu.qtest, 5), CONTROLLER)
    yield made
    made.close()


def test_lines_and_words(qemu: MadeQemu, qtest: Qtest) -> None:
    qtest.set_line(102, True)
    qtest.set_line(102, True)
    qtest.pulse(81)
    qtest.set_line(102, False)
    qtest.write_word(0x8090040, 5)
    qemu.until(lambda: len(qemu.said) == 5)
    assert qemu.said == [
        f"set_irq_in {CONTROLLER} unnamed-gpio-in 102 1",
        f"set_irq_in {CONTROLLER} unnamed-gpio-in 81 1",
        f"set_irq_in {CONTROLLER} unnamed-gpio-in 81 0",
        f"set_irq_in {CONTROLLER} unnamed-gpio-in 102 0",
        "writel 0x8090040 0x5",
    ]


def test_a_refusal(qemu: MadeQemu, qtest: Qtest) -> None:
    qemu.refuses = True
    with pytest.raises(Unusable, match=r"refused 'writel 0x10 0x1': FAIL Unknown command"):
        qtest.write_word(0x10, 1)


def test_no_answer(qemu: MadeQemu, qtest: Qtest, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu.mute = True
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    with pytest.raises(Unusable, match="did not answer in time"):
        qtest.write_word(0x10, 1)


def test_the_end_of_qemu(qemu: MadeQemu, qtest: Qtest) -> None:
    qtest.write_word(0x10, 1)
    qtest.check_alive()
    qemu.end()
    with pytest.raises(QemuGone):
        qtest.check_alive()
    with pytest.raises(QemuGone):
        qtest.write_word(0x10, 1)


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"cannot be reached within 0.1 s: No such file or directory; start QEMU"):
        connect(str(tmp_path / "none"), 0.1)


def test_the_controller_is_found_by_its_type(qemu: MadeQemu) -> None:
    with connect(qemu.qmp, 5) as connection:
        assert find_controller(connection, 5) == CONTROLLER


def test_a_machine_without_a_gicv3(tmp_path: Path) -> None:
    qemu = MadeQemu(tmp_path, [{"name": "device[1]", "type": "child<arm_gic>"}])
    try:
        with connect(qemu.qmp, 5) as connection, pytest.raises(Unusable, match=r"start it with -M virt,gic-version=3"):
            find_controller(connection, 5)
    finally:
        qemu.end()
