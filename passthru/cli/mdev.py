# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru mdev``: mediated devices of this machine, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passthru.cli.by_hand import on_this_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from passthru.host import Host
    from passthru.host.devices import MdevType
    from passthru.host.mdevctl import Definition

app = typer.Typer(help="Mediated devices (mdevs) of this machine, by hand.", no_args_is_help=True)

Uuid = Annotated[str | None, typer.Option("--uuid", metavar="UUID", help="Its UUID; a new one is made by default.")]


@app.callback()
def _mdev() -> None:
    """Mediated devices (mdevs) of this machine, by hand."""


@app.command()
def types() -> None:
    """List the parents of mdevs, and what each can make."""
    from passthru.host import devices

    on_this_host(devices.mdev_types, _tell_types)


@app.command("list")
def list_() -> None:
    """List the mdevs that exist, whoever made them."""
    from passthru.host import devices

    on_this_host(devices.mdev_types, _tell_mdevs)


@app.command()
def create(
    parent: Annotated[str, typer.Argument(metavar="PARENT", help="A parent's name (mtty) or PCI address.")],
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="One of its types, such as mtty-2.")],
    uuid: Uuid = None,
) -> None:
    """Create an mdev, which stays until it is removed."""
    from passthru.host.mdevctl import Definition

    on_this_host(lambda host: _make(host, [Definition(type_, parent, uuid)]), _tell_made)


@app.command()
def remove(uuid: Annotated[str, typer.Argument(metavar="UUID", help="Which one.")]) -> None:
    """Remove an mdev, whoever made it; not one that a guest uses."""
    from passthru.host import devices

    on_this_host(
        lambda host: devices.remove_mdev(host, uuid), lambda _: typer.echo(f"the mdev {uuid.lower()} is removed")
    )


@app.command()
def define(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON of mdevctl's: /etc/mdevctl.d/PARENT/UUID, a dump, or -.")
    ],
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="PARENT", help="Its parent, where the file does not tell.")
    ] = None,
    uuid: Uuid = None,
) -> None:
    """Create the mdevs that a file defines, all or none, with their attributes."""
    from dataclasses import replace

    from passthru.errors import UserMistake
    from passthru.host.mdevctl import of_file, parse

    found = parse(sys.stdin.read(), "standard input") if str(file) == "-" else of_file(file)
    if len(found) > 1 and (parent or uuid):
        raise UserMistake(
            f"{file} defines {len(found)} mdevs, with their parents and UUIDs; leave out --parent, --uuid"
        )
    if parent or uuid:
        found = [replace(found[0], parent=parent or found[0].parent, uuid=uuid or found[0].uuid)]
    if found[0].parent is None:
        raise UserMistake(f"{file} does not tell the parent of its mdev; say it by --parent PARENT")
    on_this_host(lambda host: _make(host, found), _tell_made)


@app.command()
def export(
    uuid: Annotated[str | None, typer.Argument(metavar="[UUID]", help="Which one; by default all.")] = None,
) -> None:
    """Print an mdev as a definition in mdevctl's JSON, or all in one; attributes cannot be read back."""
    from passthru.host import devices

    on_this_host(devices.mdev_types, lambda found: _tell_exported(found, uuid))


async def _make(host: Host, definitions: Sequence[Definition]) -> list[tuple[str, Definition]]:
    """Make them all, or none. Returns each with its UUID."""
    from passthru.errors import PassthruError
    from passthru.host import devices

    made: list[tuple[str, Definition]] = []
    try:
        for one in definitions:
            new = await devices.create_mdev(host, str(one.parent), one.type, one.uuid, one.attributes)
            made.append((new, one))
    except PassthruError:
        for uuid, _ in reversed(made):
            await devices.remove_mdev(host, uuid)
        raise
    return made


def _tell_made(made: Iterable[tuple[str, Definition]]) -> None:
    for uuid, definition in made:
        typer.echo(f"the mdev {uuid} is made: {definition.type} of {definition.parent}")


def _tell_types(found: Mapping[str, Sequence[MdevType]]) -> None:
    from passthru.report.table import table

    rows = [
        (
            parent,
            kind.type,
            str(kind.available_instances),
            str(len(kind.devices)),
            kind.device_api or "-",
            "; ".join(filter(None, (kind.name, " ".join((kind.description or "").split())))) or "-",
        )
        for parent, kinds in found.items()
        for kind in kinds
    ]
    if rows:
        typer.echo(table(("parent", "type", "left", "made", "device API", "what"), rows))
    else:
        typer.echo("no device of this machine is a parent of mdevs; load the driver of one that can be")


def _tell_mdevs(found: Mapping[str, Sequence[MdevType]]) -> None:
    from passthru.report.table import table

    rows = [(str(one.uuid), str(one.parent), one.type) for one in _existing(found)]
    if rows:
        typer.echo(table(("mdev", "parent", "type"), rows))
    else:
        typer.echo("there are no mdevs; `passthru mdev types` lists what can be made")


def _tell_exported(found: Mapping[str, Sequence[MdevType]], uuid: str | None) -> None:
    from passthru.errors import UserMistake
    from passthru.host.mdevctl import dump, dump_all

    existing = _existing(found)
    if uuid is None:
        typer.echo(dump_all(existing))
        return
    for one in existing:
        if one.uuid == uuid.lower():
            typer.echo(dump(one))
            return
    there = ", ".join(str(one.uuid) for one in existing) or "none"
    raise UserMistake(f"there is no mdev {uuid} on this host; it has {there}")


def _existing(found: Mapping[str, Sequence[MdevType]]) -> list[Definition]:
    from passthru.host.mdevctl import Definition

    return [
        Definition(kind.type, parent, uuid)
        for parent, kinds in found.items()
        for kind in kinds
        for uuid in kind.devices
    ]
