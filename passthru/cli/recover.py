# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru recover``: what killed workers left changed on this machine is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from passthru.cli.by_hand import on_this_host

if TYPE_CHECKING:
    from passthru.host.devices import Recovered


def recover() -> None:
    """Undo what runs that were killed left: drivers, mdevs, virtual functions. What runs now is left alone."""
    from passthru.host import devices

    on_this_host(devices.recover, _tell)


def _tell(recovered: Recovered) -> None:
    from passthru.errors import Unusable

    for done in recovered.undone:
        typer.echo(f"undone: {done}")
    for kept in recovered.kept:
        typer.echo(f"left as it is, since it was changed meanwhile: {kept}")
    if recovered.failed:
        raise Unusable(f"not everything could be recovered: {'; '.join(recovered.failed)}")
    if not (recovered.undone or recovered.kept):
        typer.echo("there is nothing to recover: no killed run of this user's left anything behind")
