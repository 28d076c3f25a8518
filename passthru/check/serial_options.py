# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of the checks that send bytes over a device's serial ports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from passthru.check.options import DeviceCheckOptions
from passthru.check.serial_traffic import LARGEST_BURST, MOST_BYTES, Traffic

if TYPE_CHECKING:
    from typing import Self


class BurstOptions(DeviceCheckOptions):
    """Keys of a check that sends bursts of bytes."""

    bytes: int = Field(default=15, ge=1, le=LARGEST_BURST)
    """Bytes of a burst, which is one write."""
    bursts: int = Field(default=18, ge=1, le=1024)
    """Bursts on each port; 18 bursts of 15 bytes hold all 256 values."""
    baud: Literal[9600, 19200, 38400, 57600, 115200] = 115200
    """Bits per second; a device without a wire need not care."""
    silence: float = Field(default=1.0, gt=0, le=25)
    """Seconds without a byte after which the rest of a burst counts as lost."""

    @model_validator(mode="after")
    def _not_too_much(self) -> Self:
        if self.bytes * self.bursts > MOST_BYTES:
            raise ValueError(
                f"sends {self.bytes * self.bursts} bytes over each port; bytes x bursts can be {MOST_BYTES} at most"
            )
        return self

    def traffic_over(self, ports: tuple[int, ...] | None) -> Traffic:
        """These options, as what the guest's script is made from; None means all ports of the device."""
        return Traffic(self.bytes, self.bursts, ports, self.baud, self.silence)


class SerialOptions(BurstOptions):
    """Keys of a check that sends bytes over serial ports which send them back."""

    ports: Literal["all"] | tuple[Annotated[int, Field(ge=0)], ...] = "all"
    """Which ports of the device, by their numbers from 0."""

    @property
    def traffic(self) -> Traffic:
        """These options, as what the guest's script is made from."""
        return self.traffic_over(None if self.ports == "all" else self.ports)
