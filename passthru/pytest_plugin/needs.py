# SPDX-License-Identifier: GPL-2.0-or-later
"""``@pytest.mark.passthru_needs(...)``: capabilities without which a test is skipped, naming the first missing one.

    root             this process is root
    network          a Debian mirror answers
    program:NAME     NAME is on PATH
    kvm              a guest really runs under KVM
    vfio-user        QEMU has vfio-user-pci
    qemu>=10.1       QEMU's version
    kernel>=6.6      the version of the guest's kernel
    kernel:OPTION    its configuration has it: kernel:IKCONFIG, kernel:PCI=y

The last four are asked of the guests that the test uses; where it uses none, of the guest that would boot by default.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, NoReturn

import pytest

from passthru.errors import PassthruError
from passthru.events import tell_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.pytest_plugin.ledger import Ledger
    from passthru.run.plan import Plan

MARKER = "passthru_needs"
_KNOWN = re.compile(r"root|network|kvm|vfio-user|program:\S+|kernel:\w+(=\S+)?|(qemu|kernel)>=\d+(\.\d+)*")
_MIRROR_SECONDS = 5.0


def require_here(item: pytest.Item, ledger: Ledger) -> None:
    """Skip ``item`` for what this machine lacks, as far as no guest has to boot to know that."""
    for need in _needs(item):
        if need not in ledger.lacks:
            ledger.lacks[need] = _missing_here(need, ledger)
        missing = ledger.lacks[need]
        if missing:
            _without(need, missing, ledger.options.no_skip)


def require_of_plan(item: pytest.Item, plan: Plan, no_skip: bool) -> None:
    """Skip ``item`` for what its guest lacks."""
    for need in _needs(item):
        missing = _missing_of_plan(need, plan)
        if missing:
            _without(need, missing, no_skip)


def asks_of_plan(item: pytest.Item) -> bool:
    """Whether ``item`` needs something that only a guest can tell."""
    return any(">=" in need or need.startswith("kernel:") for need in _needs(item))


def _needs(item: pytest.Item) -> Iterator[str]:
    for marker in item.iter_markers(MARKER):
        for need in marker.args:
            if not isinstance(need, str) or not _KNOWN.fullmatch(need.replace(" ", "")):
                known = "root, network, kvm, vfio-user, program:NAME, qemu>=VERSION, kernel>=VERSION, kernel:OPTION"
                pytest.fail(f"{MARKER}: there is no capability {need!r}; there are: {known}", pytrace=False)
            yield need.replace(" ", "")


def _without(need: str, missing: str, no_skip: bool) -> NoReturn:
    reason = f"needs {need}: {missing}"
    if no_skip:
        pytest.fail(f"{reason} (--passthru-no-skip)", pytrace=False)
    # At the place of the test, as pytest's own markers do.
    raise pytest.skip.Exception(reason, _use_item_location=True)


def _missing_here(need: str, ledger: Ledger) -> str:
    kind, _, name = need.partition(":")
    match kind:
        case "root":
            return "" if os.geteuid() == 0 else "this process is not root"
        case "program":
            return "" if shutil.which(name) else f"there is no {name} on PATH"
        case "network":
            return _network_trouble()
        case "kvm":
            if ledger.options.accel == "tcg":
                return "guests are emulated by --passthru-accel"
            return _of_default_plan(need, ledger)
        case "vfio-user":
            return _vfio_user_trouble(ledger)
    return ""


def _of_default_plan(need: str, ledger: Ledger) -> str:
    try:
        return _missing_of_plan(need, ledger.default_plan())
    except PassthruError as error:
        return str(error)


def _missing_of_plan(need: str, plan: Plan) -> str:
    kind, _, version = need.partition(">=")
    match kind:
        case "kvm":
            return "" if plan.accelerator.name == "kvm" else plan.accelerator.reason or "the guest is emulated"
        case "vfio-user":
            return f"{plan.qemu.title} has no vfio-user-pci" if plan.qemu.missing(("vfio-user-pci",)) else ""
        case "qemu":
            return "" if _version(plan.qemu.version) >= _version(version) else f"the guest's is {plan.qemu.title}"
        case "kernel":
            fits = _version(plan.kernel.release) >= _version(version)
            return "" if fits else f"the guest's is {plan.kernel.release} ({plan.kernel.source})"
    if kind.startswith("kernel:"):
        option = kind.removeprefix("kernel:")
        has = plan.kernel.has(option)
        if has is None:
            return f"the kernel {plan.kernel.source} does not tell its configuration"
        return "" if has else f"the kernel {plan.kernel.source} ({plan.kernel.release}) has no CONFIG_{option}"
    return ""


def _version(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(number) for number in found[0].split(".")) if found else ()


def _vfio_user_trouble(ledger: Ledger) -> str:
    from passthru.qemu import find as qemus

    try:
        qemus.find(ledger.options.qemu or "auto", ("vfio-user-pci",), ledger.store, tell_nobody)
    except PassthruError as error:
        return str(error)
    return ""


def _network_trouble() -> str:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from passthru.image.debian.mirrors import mirrors

    reason = ""
    for mirror in mirrors():
        try:
            with urlopen(Request(f"{mirror.archive}/dists/", method="HEAD"), timeout=_MIRROR_SECONDS):
                return ""
        except HTTPError:
            return ""  # an answer all the same
        except (OSError, ValueError) as error:
            reason = f"{mirror.archive} does not answer: {getattr(error, 'reason', error)}"
    return reason
