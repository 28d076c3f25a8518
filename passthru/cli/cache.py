# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru cache``: what was fetched and built, and how to get rid of it or carry it elsewhere."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True)


@app.callback()
def show(context: typer.Context) -> None:
    """Show what was fetched and built; the subcommands prune, export and import it."""
    if context.invoked_subcommand is not None:
        return
    from passthru.image.store import Store
    from passthru.image.upkeep import usage, working_bytes
    from passthru.report.table import table

    store = Store()
    entries = usage(store)
    rows = [
        (
            entry.kind,
            entry.digest[:12],
            f"{entry.size / 1e6:.1f} MB",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used)),
            entry.title,
        )
        for entry in entries
    ]
    if rows:
        typer.echo(table(("kind", "digest", "size", "last used", "what"), rows))
    total = sum(entry.size for entry in entries) / 1e6
    typer.echo(
        f"{store.root}: {len(entries)} entries, {total:.1f} MB, and {working_bytes(store) / 1e6:.1f} MB of lists"
    )


@app.command()
def prune(
    days: Annotated[float | None, typer.Option("--days", min=0, help="Remove what was not used for so long.")] = None,
    keep: Annotated[float | None, typer.Option("--keep-mb", min=0, help="Then remove the longest unused.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Remove everything that is not in use.")] = False,
) -> None:
    """Remove entries: by default those that were not used for 30 days."""
    from passthru.image.store import Store
    from passthru.image.upkeep import prune as prune_store
    from passthru.report.choose import listener

    if days is None and keep is None and not all_:
        days = 30.0
    with listener() as tell:
        kept = None if keep is None else int(keep * 1e6)
        gone = prune_store(Store(), tell, unused_days=days, keep_bytes=kept, everything=all_)
    busy = f"; {gone.busy} are in use and stay" if gone.busy else ""
    typer.echo(f"removed {gone.entries} entries, {gone.bytes / 1e6:.1f} MB{busy}")


@app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar file to write.")],
    digests: Annotated[
        list[str] | None, typer.Argument(metavar="[DIGEST...]", help="Their beginnings; all by default.")
    ] = None,
) -> None:
    """Write entries into one tar file, for a machine without network."""
    from passthru.errors import UserMistake
    from passthru.image.archive import export as write_archive
    from passthru.image.store import Store
    from passthru.image.upkeep import usage
    from passthru.report.choose import listener

    store = Store()
    entries = usage(store)
    for digest in digests or []:
        if not any(entry.digest.startswith(digest) for entry in entries):
            raise UserMistake(f"the cache {store.root} has no entry {digest}; `passthru cache` lists them")
    wanted = [entry for entry in entries if not digests or any(entry.digest.startswith(text) for text in digests)]
    if not wanted:
        raise UserMistake(f"the cache {store.root} is empty; `passthru fetch` fills it")
    found = [entry for item in wanted if (entry := store.by_digest(item.kind, item.digest))]
    with listener() as tell:
        write_archive(store, found, file, tell)
    typer.echo(f"{file}: {len(found)} entries, {file.stat().st_size / 1e6:.1f} MB")


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(metavar="FILE", help="A tar file that export wrote.")]) -> None:
    """Bring the entries of an exported tar file into the cache, each verified by its digests."""
    from passthru.image.archive import import_archive
    from passthru.image.store import Store
    from passthru.report.choose import listener

    store = Store()
    with listener() as tell:
        entries = import_archive(store, file, tell)
    typer.echo(f"{store.root}: {len(entries)} entries imported")
