# SPDX-License-Identifier: GPL-2.0-or-later
"""A model of the user's, guarded: its first mistake ends the device server, naming the user's file and line.

An OSError is no mistake but an answer, whose errno the client gets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from passthru.emulation.vfio_user.stream import Malformed
from passthru.own_code import sentence, users_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.emulation.model import AddressSpace, Model, Plug
    from passthru.emulation.regions import Region

Result = TypeVar("Result")


class ModelBroke(BaseException):
    """The mistake: a sentence, and the traceback reduced to the user's frames. It passes whoever catches Exceptions."""

    def __init__(self, message: str, shown: str) -> None:
        super().__init__(message)
        self.shown = shown


def guard(model: Model, root: str) -> Model:
    """``model`` itself, its calls guarded; errors name lines of files below the directory ``root``."""
    guarding = _Guard(root)
    for index, region in enumerate(model.regions):
        guarding.region(index, region)
    for number, irq in enumerate(model.irqs):
        guarding.methods(irq, ("info", "set_irqs", "plugged", "release"), f"of interrupt {number}")
    plugged = model.plugged
    vars(model)["plugged"] = lambda plug: guarding.call("in plugged", plugged, _GuardedPlug(plug, guarding))
    guarding.methods(model, ("unplugged", "reset", "power_on", "look", "close"))
    return model


class _Guard:
    def __init__(self, root: str) -> None:
        self._root = root

    def call(self, where: str, function: Callable[..., Result], *arguments: Any) -> Result:
        """The result of a call; raises ModelBroke for what it raises, but for OSError and what a client sent wrong."""
        try:
            return function(*arguments)
        except Exception as error:
            if isinstance(error, Malformed) or (isinstance(error, OSError) and error.errno):
                raise
            told = sentence(error, self._root, otherwise=self._root)
            raise ModelBroke(f"{told} ({where})", users_traceback(error, self._root)) from error

    def methods(self, owner: Any, names: tuple[str, ...], of: str = "") -> None:
        """Guard methods of an object."""
        for name in names if hasattr(owner, "__dict__") else ():
            vars(owner)[name] = self._guarded(getattr(owner, name), f"in {name} {of}".rstrip())

    def region(self, index: int, region: Region) -> None:
        """Guard a region's accesses; a read must give as many bytes as were asked for."""
        read, write = region.read, region.write
        place = place_of_method(read)

        def guarded_read(offset: int, count: int) -> bytes:
            where = f"in a read of region {index} at {offset:#x}, {count} bytes"
            data = self.call(where, read, offset, count)
            if isinstance(data, bytes | bytearray | memoryview) and len(data) == count:
                return bytes(data)
            gave = f"{len(data)} bytes" if isinstance(data, bytes | bytearray | memoryview) else type(data).__name__
            raise ModelBroke(f"{place}: returned {gave} {where}", "")

        def guarded_write(offset: int, data: bytes) -> None:
            self.call(f"in a write to region {index} at {offset:#x}, {len(data)} bytes", write, offset, data)

        vars(region).update(read=guarded_read, write=guarded_write)
        self.methods(region, ("close",), f"of region {index}")

    def _guarded(self, method: Callable[..., Result], where: str) -> Callable[..., Result]:
        return lambda *arguments: self.call(where, method, *arguments)


class _GuardedPlug:
    """A `Plug` whose deferred work is guarded too."""

    def __init__(self, plug: Plug, guarding: _Guard) -> None:
        self._plug = plug
        self._guarding = guarding

    @property
    def dma(self) -> AddressSpace:
        return self._plug.dma

    def stream(self, number: int) -> AddressSpace:
        return self._plug.stream(number)

    def defer(self, work: Callable[[], None]) -> None:
        self._plug.defer(lambda: self._guarding.call("in deferred work", work))

    def watch(self, descriptor: int, work: Callable[[], None]) -> None:
        self._plug.watch(descriptor, lambda: self._guarding.call("in watching work", work))

    def unwatch(self, descriptor: int) -> None:
        self._plug.unwatch(descriptor)


def place_of_method(method: Callable[..., object]) -> str:
    """``FILE:LINE`` where a method is defined."""
    code = getattr(getattr(method, "__func__", method), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(method)
