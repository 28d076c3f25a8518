# SPDX-License-Identifier: GPL-2.0-or-later
"""Data in the device's own loopback, by its stub: what is sent comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_CITES = "REGION_READ and REGION_WRITE of vfio-user.rst, pread(2) and pwrite(2) of the device; the device's own manual"


@test("stub.loop", cites=_CITES)
def looped_data_come_back(case: Case) -> None:
    """Bytes of any number that the device can take come back as they were sent."""
    for size in range(1, case.stub.largest_loop + 1):
        _loop(case, case.random.randbytes(size))


@test("stub.loop", cites=_CITES)
def every_byte_can_be_looped(case: Case) -> None:
    """Each of the 256 bytes comes back."""
    everything, size = bytes(range(256)), case.stub.largest_loop
    for start in range(0, len(everything), size):
        _loop(case, everything[start : start + size])


def _loop(case: Case, sent: bytes) -> None:
    came = case.stub.loop(sent)
    case.expect(came == sent, f"the device looped {sent.hex(' ')}, and {came.hex(' ') or 'nothing'} came back")
