# SPDX-License-Identifier: GPL-2.0-or-later
"""The container by VFIO: objects by their names, commands through region 0, the guest's RAM at its own addresses."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from passthru.emulation.fsl_mc_bridge import held as held_module
from passthru.emulation.fsl_mc_bridge.held import HeldContainer, hold
from passthru.emulation.fsl_mc_bridge.settings import Settings
from passthru.emulation.shared_ram.board import RamPlace
from passthru.errors import Unusable, UserMistake
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import DeviceInfo
from passthru.vfio.kernel.descriptor import Descriptor

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = vfio.VFIO_DEVICE_FLAGS_FSL_MC | vfio.VFIO_DEVICE_FLAGS_RESET


@dataclass
class MadeContainer:
    """Opened by its group, which knows the objects ``there``; they answer a command by its bytes, reversed."""

    flags: int = WHOLE
    there: tuple[str, ...] = ()
    refuses: int = errno.ENODEV
    mapped: list[tuple[int, int, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    command: bytes = b""
    maps: bool = True
    closed: int = 0

    @property
    def device(self) -> Any:
        return SimpleNamespace(
            info=lambda: DeviceInfo(self.flags, 1, 1),
            write=lambda region, offset, data: setattr(self, "command", data) if (region, offset) == (0, 0) else None,
            read=lambda region, offset, size: self.command[::-1][:size],
        )

    @property
    def group(self) -> Any:
        return SimpleNamespace(device=self._object)

    @property
    def dma(self) -> Any:
        return SimpleNamespace(map=self._map)

    def close(self) -> None:
        self.closed += 1

    def _object(self, name: str) -> Descriptor:
        self.asked.append(name)
        if name not in self.there:
            raise OSError(self.refuses, os.strerror(self.refuses))
        return Descriptor(os.memfd_create(name))

    def _map(self, iova: int, size: int, memory: int, offset: int) -> None:
        os.fstat(memory)
        if not self.maps:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self.mapped.append((iova, size, offset))


def made(**options: Any) -> tuple[HeldContainer, MadeContainer]:
    container = MadeContainer(**options)
    return HeldContainer("dprc.2", container), container  # type: ignore[arg-type]


def test_objects_are_opened_once_and_closed_with_the_container() -> None:
    held, container = made(there=("dpio.0",))
    first = held.find("dpio.0")
    assert first is not None and held.find("dpio.0") is first
    assert held.find("dpbp.9") is None and held.find("dpbp.9") is None
    assert held.find("dprc.2") is not None
    assert container.asked == ["dpio.0", "dpbp.9", "dpbp.9"]
    held.close()
    assert container.closed == 1


def test_other_refusals_are_told() -> None:
    held, _ = made(refuses=errno.EMFILE)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        held.find("dpio.0")


def test_commands_go_through_region_0() -> None:
    held, _ = made()
    assert held.send(bytes(range(64))) == bytes(range(64))[::-1]


def test_the_guests_ram_is_at_the_guests_addresses(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(bytes(4096))
    held, container = made()
    held.show(str(tmp_path / "ram"), 0x40000000, ((0x40000000, 0x1000), (0x40008000, 0x2000)))
    assert container.mapped == [(0x40000000, 0x1000, 0), (0x40008000, 0x2000, 0x8000)]


def test_ram_that_cannot_be_mapped(tmp_path: Path) -> None:
    (tmp_path / "ram").write_bytes(bytes(4096))
    held, _ = made(maps=False)
    with pytest.raises(Unusable, match=r"dprc\.2 cannot see the guest's RAM, 0x1000 bytes at 0x40000000: Cannot alloc"):
        held.show(str(tmp_path / "ram"), 0x40000000, ((0x40000000, 0x1000),))


def settings(group: str) -> Settings:
    return Settings(RamPlace("/ram", 1 << 28), "/qtest", "dprc.2", group, 0x4C000000, 0x4C400000, 0x4C800000)


def test_a_group_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "KernelTarget", _target(OSError(errno.EBUSY, os.strerror(errno.EBUSY))))
    with pytest.raises(Unusable, match=r"dprc\.2 cannot be opened by /dev/vfio/3: Device or resource busy; it must "):
        hold(settings("/dev/vfio/3"))


@pytest.mark.parametrize("flags", [vfio.VFIO_DEVICE_FLAGS_FSL_MC, vfio.VFIO_DEVICE_FLAGS_RESET])
def test_what_is_no_container(flags: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a container cannot be reset, and other devices are not on that bus."""
    container = MadeContainer(flags=flags)
    monkeypatch.setattr(held_module, "KernelTarget", _target(container))
    with pytest.raises(UserMistake, match=r"dprc\.2 is no container"):
        hold(settings("/dev/vfio/3"))
    assert container.closed == 1


def _target(outcome: Any) -> Any:
    def target(name: str, way: str, group: str) -> Any:
        assert (name, way, group) == ("dprc.2", "type1", "/dev/vfio/3")

        def open_group() -> Any:
            if isinstance(outcome, OSError):
                raise outcome
            return outcome

        return SimpleNamespace(open_group=open_group)

    return target
