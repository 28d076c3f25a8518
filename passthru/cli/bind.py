# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru bind`` and ``unbind``: a device of this machine for VFIO, and back, by hand."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from passthru.cli.by_hand import on_this_host

if TYPE_CHECKING:
    from passthru.host.devices import Bound, Unbound

Device = Annotated[
    str,
    typer.Argument(
        metavar="DEVICE",
        help="A PCI address (00:05.0), a path through bridges (00:04.0/00.0) or vendor:device; the name of a platform"
        " or AMBA device (9010000.pl031); a DPAA2 container (dprc.2). Its bus may stand before it: amba:arm,pl031.",
    ),
]


def bind(
    device: Device,
    driver: Annotated[
        str | None,
        typer.Option("--driver", metavar="DRIVER", help="Which driver it gets.", show_default="VFIO's of its bus"),
    ] = None,
) -> None:
    """Bind a device of this machine to VFIO's driver, with all of its IOMMU group, until it is unbound."""
    from passthru.host import devices

    on_this_host(lambda host: devices.bind(host, device, driver), _tell_bound)


def unbind(device: Device) -> None:
    """Give a device that was bound by hand back to the driver that it had, and so its group."""
    from passthru.host import devices

    on_this_host(lambda host: devices.unbind(host, device), _tell_unbound)


def _tell_bound(bound: Bound) -> None:
    if bound.address in bound.devices:
        typer.echo(f"{bound.address} is bound to {bound.driver}; before, its driver was {bound.before or 'none'}")
    else:
        typer.echo(f"{bound.address} was bound to {bound.driver} already")
    for member in bound.devices:
        if member != bound.address:
            typer.echo(f"{member}, which shares IOMMU group {bound.group} with it, went with it")
    if bound.group is not None and bound.driver.startswith("vfio"):
        user = os.environ.get("SUDO_USER")
        hint = f"; so that {user} may assign it: chown {user} /dev/vfio/{bound.group}" if user else ""
        typer.echo(f"a guest gets it by /dev/vfio/{bound.group}{hint}")
    if bound.devices:
        typer.echo(f"`passthru unbind {bound.address}` gives it back")


def _tell_unbound(unbound: Unbound) -> None:
    for done in unbound.undone:
        typer.echo(f"undone: {done}")
    for kept in unbound.kept:
        typer.echo(f"left as it is, since it was changed meanwhile: {kept}")
    typer.echo(f"the driver of {unbound.address} is {unbound.driver or 'none'}")
