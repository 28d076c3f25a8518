# SPDX-License-Identifier: GPL-2.0-or-later
"""An SMMUv2 that is only RAM: Linux's arm-smmu driver writes it, we read it.

Arm IHI 0062 (SMMU architecture 2) and drivers/iommu/arm/arm-smmu. It has stage 1 only, 32 stream matching registers and
16 context banks. What the hardware would do by itself is RAM's way of doing nothing: TLBs are always in sync, as there
are none, and registers that are cleared by writing ones keep what is written. A fault therefore stays in the registers
until the next one replaces it, and its interrupt is an edge: with a level nobody could tell when to lower it. In the
device tree each context has an interrupt of its own, edge-triggered, so that no handler finds another context's fault.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.emulation.shared_ram.tables import Reason, Regime, WalkFault, walk
from passthru.emulation.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from passthru.emulation.shared_ram.ram import GuestRam

SIZE = 0x20000
CONTEXTS = 16  # a group takes two once VFIO has had it: for its own domain, and for blocking it
STREAM_MATCHES = 32

_PAGE = 0x1000
_SCR0, _ID0, _ID1, _ID2, _ID7 = 0x00, 0x20, 0x24, 0x28, 0x3C
_SGFAR, _SGFSR, _SGFSYNR0, _SGFSYNR1 = 0x40, 0x48, 0x50, 0x54
_SMR, _S2CR = 0x800, 0xC00
_CBAR, _CBFRSYNRA, _CBA2R = _PAGE, _PAGE + 0x400, _PAGE + 0x800
_SCTLR, _TTBR0, _TCR, _FSR, _FAR, _FSYNR0 = 0x00, 0x20, 0x30, 0x58, 0x60, 0x68

_PRELOADS = {
    _SCR0: 0x1,  # CLIENTPD: until a driver enables it, all goes through untranslated
    _ID0: 0x4F005E00 | STREAM_MATCHES,  # stage 1, stream matching, coherent walks, 15 bits of stream, AArch64 only
    _ID1: 0x30000000 | CONTEXTS,  # 16 + 16 pages of 4 KiB
    _ID2: 0x7544,  # 44 bits in and out, 48 upstream, granules of 4, 16 and 64 KiB
    _ID7: 0x20,  # architecture 2.0
}
_CLIENTPD, _GFIE, _USFCFG, _GCFGFIE = 1 << 0, 1 << 2, 1 << 10, 1 << 5
_TRANSLATE, _BYPASS = 0, 1  # S2CR.TYPE
_PRIVILEGED = 3  # S2CR.PRIVCFG
_STAGE_1_ONLY, _VA64 = 1, 1  # CBAR.TYPE and CBA2R
_M, _CFIE = 1 << 0, 1 << 6
_FSR_AARCH64, _FSYNR0_WRITE = 2 << 9, 1 << 4
_SGFSYNR0_WRITE = 1 << 1
_INVALID_CONTEXT, _UNIDENTIFIED_STREAM = 1 << 0, 1 << 1  # of sGFSR
_EVERYTHING = 1 << 64


class Smmu:
    """``registers`` are SIZE bytes of the guest's RAM; ``pulse`` raises and lowers an SPI.

    ``global_spi`` and ``context_spis`` are those of the device tree, in its order.
    """

    def __init__(
        self,
        registers: memoryview,
        ram: GuestRam,
        pulse: Callable[[int], None],
        *,
        global_spi: int,
        context_spis: Sequence[int],
    ) -> None:
        self._registers = Words(registers)
        self._ram = ram
        self._pulse = pulse
        self._global_spi = global_spi
        self._context_spis = context_spis

    def power_on(self) -> None:
        """What a driver must find when it looks for the first time."""
        for register, value in _PRELOADS.items():
            self._registers.put(register, value)

    def translate(self, stream: int, address: int, *, write: bool) -> tuple[int, int]:
        """The physical address for an access of a stream, and for how many bytes from there on that holds.

        Raises OSError EFAULT or EACCES, when the fault has been recorded and signalled as the driver asked for.
        """
        registers = self._registers
        control = registers.get(_SCR0)
        if control & _CLIENTPD:
            return address, _EVERYTHING
        route = self._route(stream)
        if route is None:
            if not control & _USFCFG:
                return address, _EVERYTHING
            self._global_fault(stream, address, _UNIDENTIFIED_STREAM, _GFIE, write=write)
            raise OSError(errno.EFAULT, f"stream {stream:#x} is not known to the SMMU")
        kind, context = route >> 16 & 3, route & 0xFF
        if kind == _BYPASS:
            return address, _EVERYTHING
        if kind != _TRANSLATE or not self._can_walk(context):
            self._global_fault(stream, address, _INVALID_CONTEXT, _GCFGFIE, write=write)
            raise OSError(errno.EFAULT, f"stream {stream:#x} has no context of the SMMU that translates")
        bank = self._bank(context)
        if not registers.get(bank + _SCTLR) & _M:
            return address, _EVERYTHING
        privileged = route >> 24 & 3 == _PRIVILEGED
        regime = Regime(registers.get_long(bank + _TTBR0), registers.get(bank + _TCR), privileged)
        try:
            return walk(self._ram, regime, address, write=write)
        except WalkFault as fault:
            self._context_fault(stream, context, address, fault, write=write)
            number = errno.EACCES if fault.reason is Reason.PERMISSION else errno.EFAULT
            raise OSError(number, f"{fault} of stream {stream:#x} at {address:#x}") from fault

    def release(self) -> None:
        """Let the RAM go."""
        self._registers.release()

    def _route(self, stream: int) -> int | None:
        """The S2CR that a stream matches; None where it matches none."""
        for number in range(STREAM_MATCHES):
            match = self._registers.get(_SMR + 4 * number)
            if match >> 31 and not (match ^ stream) & ~(match >> 16) & 0x7FFF:
                return self._registers.get(_S2CR + 4 * number)
        return None

    def _can_walk(self, context: int) -> bool:
        """Whether a context is one of ours with tables of the one format that we offer."""
        return (
            context < CONTEXTS
            and self._registers.get(_CBAR + 4 * context) >> 16 & 3 == _STAGE_1_ONLY
            and bool(self._registers.get(_CBA2R + 4 * context) & _VA64)
        )

    def _bank(self, context: int) -> int:
        return (16 + context) * _PAGE

    def _context_fault(self, stream: int, context: int, address: int, fault: WalkFault, *, write: bool) -> None:
        registers, bank = self._registers, self._bank(context)
        registers.put_long(bank + _FAR, address)
        registers.put(bank + _FSYNR0, fault.level | (_FSYNR0_WRITE if write else 0))
        registers.put(_CBFRSYNRA + 4 * context, stream)
        registers.put(bank + _FSR, _FSR_AARCH64 | fault.reason.value)
        if registers.get(bank + _SCTLR) & _CFIE and context < len(self._context_spis):
            self._pulse(self._context_spis[context])

    def _global_fault(self, stream: int, address: int, cause: int, enable: int, *, write: bool) -> None:
        registers = self._registers
        registers.put_long(_SGFAR, address)
        registers.put(_SGFSYNR0, _SGFSYNR0_WRITE if write else 0)
        registers.put(_SGFSYNR1, stream)
        registers.put(_SGFSR, cause)
        if registers.get(_SCR0) & enable:
            self._pulse(self._global_spi)
