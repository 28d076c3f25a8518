# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru dprc``: what is in the DPAA2 containers of this machine, changed by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from passthru.cli.by_hand import on_this_host

app = typer.Typer(help="What is in the DPAA2 containers of this machine, by hand.", no_args_is_help=True)

Object = Annotated[str, typer.Argument(metavar="OBJECT", help="Its type and number: dpbp.1.")]
Container = Annotated[str, typer.Argument(metavar="CONTAINER", help="A container that no guest holds: dprc.2.")]


@app.callback()
def _dprc() -> None:
    """What is in the DPAA2 containers of this machine, by hand."""


@app.command()
def add(device: Object, container: Container) -> None:
    """Move an object from the container above into CONTAINER, plugged."""
    from passthru.host import devices

    on_this_host(
        lambda host: devices.add_object(host, device, container),
        lambda before: typer.echo(f"{device} is in {container} now; before, it was in {before}"),
    )


@app.command()
def remove(device: Object, container: Container) -> None:
    """Move an object out of CONTAINER into the one above, unplugged."""
    from passthru.host import devices

    on_this_host(
        lambda host: devices.remove_object(host, device, container),
        lambda now: typer.echo(f"{device} is in {now} now, unplugged; before, it was in {container}"),
    )
