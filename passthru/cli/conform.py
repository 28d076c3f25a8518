# SPDX-License-Identifier: GPL-2.0-or-later
"""``passthru conform``: the conformance suite on a device of a rig, of this machine, or at a socket."""

from __future__ import annotations

import contextlib
import json
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from passthru.cli.options import Overrides, RunsDirectory
from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from passthru.events import Tell
    from passthru.run.conform.request import ConformRequest, Wanted
    from passthru.vfio.conform.registry import Test


class Format(Enum):
    """How the verdicts are told on standard output."""

    TABLE = "table"
    LINES = "lines"
    TAP = "tap"
    KTAP = "ktap"
    JSON = "json"


class Container(Enum):
    """The way to a device of a kernel."""

    TYPE1 = "type1"
    TYPE1V2 = "type1v2"
    IOMMUFD = "iommufd"
    NOIOMMU = "noiommu"


def conform(
    device: Annotated[
        str | None,
        typer.Argument(
            metavar="[DEVICE]",
            help="A device of this machine: 0000:00:05.0, 1234:11e8, an mdev's UUID, platform:NAME, amba:NAME, dprc.2.",
        ),
    ] = None,
    rig: Annotated[
        str | None, typer.Option("--rig", metavar="SCENARIO", help="The devices of a scenario, in its emulated host.")
    ] = None,
    device_id: Annotated[
        str | None, typer.Option("--device", metavar="ID", help="Only this device of the scenario.")
    ] = None,
    vfio_user: Annotated[
        Path | None, typer.Option("--vfio-user", metavar="PATH", help="The device that is served at a UNIX socket.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="COMMAND", help="A device server to start; {socket} is where it listens."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="A device model: mtty, FILE.py:CLASS, ...")
    ] = None,
    option: Annotated[
        list[str], typer.Option("--option", metavar="NAME=VALUE", help="An option of the model, such as ports=1.")
    ] = [],  # noqa: B006 - typer wants a list
    container: Annotated[
        Container | None, typer.Option("--container", help="The way to the device, instead of the scenario's (type1).")
    ] = None,
    stub: Annotated[
        str | None,
        typer.Option("--stub", metavar="FILE.py[:CLASS]", help="What makes your device interrupt and reach memory."),
    ] = None,
    only: Annotated[
        list[str], typer.Option("--only", metavar="PATTERN", help="Only tests whose name or topic matches: 'irq*'.")
    ] = [],  # noqa: B006
    list_: Annotated[bool, typer.Option("--list", help="List the tests, and run none.")] = False,
    dangerous: Annotated[
        bool, typer.Option("--dangerous", help="Run also what is known to crash this kernel's driver.")
    ] = False,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", help="How long the device may take for an answer.")
    ] = 5.0,
    form: Annotated[
        Format, typer.Option("--format", help="A live table (lines where there is no terminal), or what a tool reads.")
    ] = Format.TABLE,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write verdicts as JUnit XML.")] = None,
    no_skip: Annotated[bool, typer.Option("--no-skip", help="A skipped test makes the exit code 125.")] = False,
    set_: Overrides = [],  # noqa: B006
    runs: RunsDirectory = Path("runs"),
) -> None:
    """Judge a device by the VFIO interface itself: every call, every refusal, interrupts, DMA, reset.

    One suite for the kernel's bus drivers (vfio-pci, vfio-platform, mdevs) and for vfio-user device servers; neither
    QEMU nor a guest is in between. passthru/vfio/README.md leads driver authors from nothing to a verdict.
    """
    from passthru.vfio.conform.command import choose
    from passthru.vfio.conform.registry import all_tests

    tests = choose(all_tests(), only)
    if list_:
        _list(tests, form)
        return
    if time_limit <= 0:
        raise UserMistake(f"--time-limit {time_limit:g}: should be more than 0 seconds")
    from passthru.run.conform.go import SuiteOptions
    from passthru.run.conform.request import Wanted

    options = SuiteOptions(tuple(only), dangerous, stub or "", time_limit)
    wanted = Wanted(container.value if container else None, tuple(set_), options)
    request = _request(device, rig, device_id, vfio_user, server, model, option, wanted)
    _run(request, form, junit, no_skip=no_skip, runs=runs)


def _request(
    device: str | None,
    rig: str | None,
    device_id: str | None,
    vfio_user: Path | None,
    server: str | None,
    model: str | None,
    option: list[str],
    wanted: Wanted,
) -> ConformRequest:
    """What is to be judged; raises UserMistake where that is said not at all, or twice."""
    from passthru.run.conform import request
    from passthru.scenario.overrides import parse_assignments

    named = {
        "DEVICE": device,
        "--rig": rig,
        "--vfio-user": None if server is not None else vfio_user,
        "--server": server,
        "--model": model,
    }
    given = [name for name, value in named.items() if value is not None]
    if len(given) != 1:
        what = "nothing is named" if not given else f"{' and '.join(given)} are named"
        raise UserMistake(
            f"{what} to be judged; name one: a DEVICE of this machine, --rig SCENARIO, --vfio-user PATH, --server"
            " COMMAND or --model MODEL (`passthru conform --help`)"
        )
    for name, value, of in (("--device", device_id, "--rig"), ("--option", option, "--model")):
        if value and of not in given:
            raise UserMistake(f"{name} goes with {of}, which is not given")
    if rig is not None:
        return request.in_rig(rig, device_id, wanted)
    if server is not None:
        return request.by_server(server, vfio_user, wanted)
    if vfio_user is not None:
        return request.at_socket(vfio_user, wanted)
    if model is not None:
        return request.of_model(model, parse_assignments(option, "--option"), wanted)
    assert device is not None
    return request.of_this_machine(device, wanted)


def _run(request: ConformRequest, form: Format, junit: Path | None, *, no_skip: bool, runs: Path) -> None:
    from passthru.image.store import Store
    from passthru.report import junit as junit_report
    from passthru.report.document import document
    from passthru.report.run_directory import reports_in
    from passthru.run.conform.one_run import conform as conform_run
    from passthru.run.signals import interruptible

    with interruptible(), _listener(form, len(request.scenario.device)) as tell:
        outcome = conform_run(request, runs, reports_in, tell, Store())
    if junit is not None:
        junit_report.write(junit, [outcome])
    if form is Format.JSON:
        typer.echo(document(outcome, skips_count=no_skip))
    raise typer.Exit(outcome.exit_code(skips_count=no_skip))


@contextlib.contextmanager
def _listener(form: Format, devices: int) -> Iterator[Tell]:
    match form:
        case Format.TABLE:
            from passthru.report.choose import listener

            with listener() as tell:
                yield tell
        case Format.LINES | Format.JSON:
            from passthru.report.lines import Lines

            # JSON is one document on standard output; how it goes meanwhile is for whoever looks on.
            yield Lines(sys.stderr if form is Format.JSON else sys.stdout)
        case Format.TAP | Format.KTAP:
            from passthru.report.tap import Tap

            yield Tap(devices, kernel=form is Format.KTAP)


def _list(tests: Sequence[Test], form: Format) -> None:
    from passthru.report.table import table

    if form is Format.JSON:
        keys = ("name", "topic", "demand", "cites", "needs")
        typer.echo(json.dumps([{key: getattr(test, key) for key in keys} for test in tests], indent=2))
        return
    rows = [(test.topic, test.name, " ".join(test.needs) or "-", test.demand) for test in tests]
    typer.echo(table(("topic", "test", "needs", "demands"), rows))
