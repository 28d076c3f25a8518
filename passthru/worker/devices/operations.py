# SPDX-License-Identifier: GPL-2.0-or-later
"""The requests about devices, carried out; see protocol.py for what they take and answer."""

from __future__ import annotations

from passthru.worker.devices import assign_on_chip, assign_pci, by_hand, fsl_mc_contents, mdev, preflight, recovery
from passthru.worker.devices.buses import ON_CHIP
from passthru.worker.devices.iommu import needed_modules, raise_memlock
from passthru.worker.devices.ledger import Ledger
from passthru.worker.devices.loading import load_missing
from passthru.worker.devices.requests import assignment, assignments, attributes, field
from passthru.worker.devices.steps import StepError
from passthru.worker.devices.trouble import Blocked, mistake
from passthru.worker.protocol import REQUEST, UNUSABLE, RequestError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.worker.devices.system import System
    from passthru.worker.stream import Message


class Operations:
    """The devices that one worker prepared, and the requests that change them."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._ledger = Ledger(system)
        self._prepared: dict[str, Message] = {}
        self._requests: dict[str, Callable[[Message], Message]] = {
            "preflight": self._preflight,
            "prepare": self._prepare,
            "release": self._release,
            "recover": lambda request: recovery.recover(system),
            "bind": lambda request: by_hand.bind(
                system, field(request, "host", str), field(request, "driver", (str, type(None)))
            ),
            "unbind": lambda request: by_hand.unbind(system, field(request, "host", str)),
            "mdev-create": lambda request: by_hand.create_mdev(
                system,
                field(request, "parent", str),
                field(request, "type", str),
                field(request, "uuid", (str, type(None))),
                attributes(request),
            ),
            "mdev-remove": lambda request: by_hand.remove_mdev(system, field(request, "uuid", str)),
            "object-add": lambda request: fsl_mc_contents.add(
                system, field(request, "object", str), field(request, "container", str), self._addresses()
            ),
            "object-remove": lambda request: fsl_mc_contents.remove(
                system, field(request, "object", str), field(request, "container", str), self._addresses()
            ),
            "mdev-types": lambda request: {"parents": mdev.parents(system)},
        }

    def answer(self, request: Message) -> Message:
        """Carry out a request. Raises RequestError; then nothing is changed."""
        try:
            return self._requests[request["do"]](request)
        except Blocked as error:
            raise error.blocker.error() from error
        except StepError as error:
            raise RequestError(UNUSABLE, str(error)) from error

    def end(self) -> list[str]:
        """Undo everything; returns a sentence for each failure."""
        _, failed, _ = self._ledger.undo(lambda step: True)
        self._prepared.clear()
        self._ledger.close()
        return [f"{sentence}; `passthru recover` tries again" for sentence in failed]

    def _preflight(self, request: Message) -> Message:
        wanted = assignments(request)
        memory = field(request, "memory", int)
        kind = field(request, "kind", str)
        blockers = preflight.blockers(self._system, wanted, memory, kind, self._addresses())
        return {"blockers": [blocker.message() for blocker in blockers], "facts": preflight.facts(self._system)}

    def _prepare(self, request: Message) -> Message:
        wanted = assignment(field(request, "assignment", dict))
        name = wanted["name"]
        if name in self._prepared:
            raise RequestError(REQUEST, f"{name} is prepared already; release it first")
        mark = self._ledger.mark
        try:
            names = needed_modules(wanted["bus"], wanted["container"])
            if wanted["bus"] in ON_CHIP:
                assign_on_chip.demand(self._system, wanted, self._addresses())  # before a module might take it
            load_missing(
                self._ledger,
                names,
                unsafe=wanted.get("unsafe", False),
                without_reset=not wanted.get("reset_required", True),
            )
            raise_memlock()
            if wanted["bus"] == "mdev":
                prepared = mdev.prepare(self._ledger, wanted)
            elif wanted["bus"] in ON_CHIP:
                prepared = assign_on_chip.prepare(self._ledger, wanted, self._addresses())
                self._not_twice(prepared["address"])
            else:
                prepared = assign_pci.prepare(self._ledger, wanted, self._addresses())
                self._not_twice(prepared["address"])
        except (Blocked, StepError, RequestError) as error:
            failed = self._ledger.undo_since(mark)
            if failed:
                raise RequestError(
                    UNUSABLE, f"cannot prepare {name}: {error}; and not all is as before: {'; '.join(failed)}"
                ) from error
            if isinstance(error, StepError):
                raise RequestError(UNUSABLE, f"cannot prepare {name}: {error}; all is as before") from error
            raise
        self._prepared[name] = prepared
        return {key: value for key, value in prepared.items() if key != "resources"}

    def _release(self, request: Message) -> Message:
        name = field(request, "name", str)
        prepared = self._prepared.get(name)
        if prepared is None:
            raise RequestError(REQUEST, f"nothing is prepared by the name {name!r}")
        # What others use too goes to one of them: the rest of a group, the other functions of a card.
        for step in self._ledger.steps:
            if step["owner"] == name:
                heir = next(
                    (o for o, other in self._prepared.items() if o != name and step["resource"] in other["resources"]),
                    None,
                )
                if heir is not None and step["resource"]:
                    step["owner"] = heir
        _, failed, _ = self._ledger.undo(lambda step: step["owner"] == name)
        if not failed:
            del self._prepared[name]
        return {"failed": failed}

    def _addresses(self) -> set[str]:
        return {prepared["address"] for prepared in self._prepared.values()} | {
            step["target"] for step in self._ledger.steps if step["kind"] == "bind"
        }

    def _not_twice(self, address: str) -> None:
        for name, other in self._prepared.items():
            if other["address"] == address:
                raise mistake(f"{address} is assigned already, as {name}", "assign another device")
