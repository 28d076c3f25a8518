# SPDX-License-Identifier: GPL-2.0-or-later
"""Models that users bring, named ``FILE.py:CLASS`` or ``package.module:CLASS``, looked over before they are used.

Standard library only: a device server does this, and the controlling side does it before, to know the options.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from passthru.emulation.guarded import ModelBroke, guard
from passthru.emulation.interrupts import IrqIndex
from passthru.emulation.model import Model
from passthru.emulation.regions import Region
from passthru.own_code import OwnCodeError, load_file, place_of, sentence, split_reference, users_traceback
from passthru.vfio.linux_vfio import VFIO_DEVICE_FLAGS_PCI, VFIO_PCI_CONFIG_REGION_INDEX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

_REGIONS, _IRQS = VFIO_PCI_CONFIG_REGION_INDEX + 1, 3
_KINDS = (bool, int, float, str)
_FOUND = "a device server finds the standard library, passthru, and modules beside the model's file"


@dataclasses.dataclass(frozen=True)
class OwnModel:
    """A model of the user's; ``root`` is the directory whose lines errors name."""

    kind: type[Model]
    root: str

    def build(self, options: object) -> Model:
        """The device, guarded (see `guarded`). Raises OwnCodeError where it cannot be made or no VMM would take it."""
        try:
            device = self.kind(options)  # type: ignore[arg-type]
            trouble = _not_a_device(device)
        except Exception as error:
            print(users_traceback(error, self.root), end="", file=sys.stderr)
            raise OwnCodeError(sentence(error, self.root, otherwise=self.root)) from error
        if trouble:
            raise OwnCodeError(f"{place_of(file_of(self.kind), self.kind.__name__)}: {self.kind.__name__} {trouble}")
        return guard(device, self.root)

    @contextmanager
    def breaking(self) -> Iterator[None]:
        """A mistake of the guarded device within this context is shown, and raised as OwnCodeError."""
        try:
            yield
        except ModelBroke as broke:
            print(broke.shown, end="", file=sys.stderr)
            raise OwnCodeError(str(broke)) from broke


def from_file(reference: str) -> OwnModel:
    """The model ``FILE.py:CLASS``. Raises OwnCodeError."""
    file, name = split_reference(reference) or (reference, "")
    try:
        module = load_file(file)
    except OwnCodeError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise OwnCodeError(f"{error}; {_FOUND}") from error
        raise
    path = str(module.__file__)
    return OwnModel(_checked(module, name, path), os.path.dirname(path))  # noqa: PTH120


def from_package(reference: str, root: str) -> OwnModel:
    """The model ``package.module:CLASS`` of a package in the directory ``root``. Raises OwnCodeError."""
    module_name, _, name = reference.partition(":")
    top = f"{root}/{module_name.partition('.')[0]}"
    if root not in sys.path:
        sys.path.append(root)
    try:
        module = import_module(module_name)
    except (Exception, SystemExit) as error:
        raise OwnCodeError(sentence(error, top, otherwise=f"{reference} in {root}")) from error
    return OwnModel(_checked(module, name, module.__file__ or reference), top)


def option_types(kind: type[Model]) -> dict[str, Any]:
    """The options of a model by name, with their types. Raises OwnCodeError where a scenario cannot give them."""
    options = kind.Options
    place = f"{place_of(file_of(kind), kind.__name__)}: {kind.__name__}.Options"
    if not isinstance(options, type) or not dataclasses.is_dataclass(options):
        raise OwnCodeError(f"{place} is no dataclass; write @dataclass(frozen=True) above it")
    if vars(options).get("__annotations__") and "__dataclass_fields__" not in vars(options):
        raise OwnCodeError(f"{place} has options but is no dataclass itself; write @dataclass(frozen=True) above it")
    try:
        types = get_type_hints(options)
    except Exception as error:
        raise OwnCodeError(f"{place}: a type cannot be told: {error}; import it at run time") from error
    for field in dataclasses.fields(options):
        wanted = types[field.name]
        if wanted not in _KINDS and not (
            get_origin(wanted) is Literal and all(type(value) in _KINDS for value in get_args(wanted))
        ):
            shown = getattr(wanted, "__name__", wanted)
            raise OwnCodeError(f"{place}.{field.name} is of type {shown}; it can be bool, int, float, str or a Literal")
        if field.default is dataclasses.MISSING:
            raise OwnCodeError(f"{place}.{field.name} has no default; give it one")
    return {field.name: types[field.name] for field in dataclasses.fields(options)}


def file_of(kind: type[Model]) -> str:
    """The file that a model's class is written in."""
    return sys.modules[kind.__module__].__file__ or kind.__module__


def _checked(module: ModuleType, name: str, path: str) -> type[Model]:
    """The class ``name`` of a module, as a model."""
    if not name:
        meant = f"{path}:{(_models_in(module) or ['CLASS'])[0]}"
        raise OwnCodeError(f"{path}: which class of it? write {meant}; {_there_are(module)}")
    kind: Any = module
    for part in name.split("."):
        kind = getattr(kind, part, None)
    if kind is None:
        raise OwnCodeError(f"{path}: has no class {name}; {_there_are(module)}")
    if not isinstance(kind, type):
        raise OwnCodeError(f"{place_of(path, name)}: {name} is no class; {_there_are(module)}")
    if not issubclass(kind, Model):
        place = place_of(path, name)
        raise OwnCodeError(f"{place}: the class {name} is no model; derive it from passthru.emulation.model.Model")
    return kind


def _not_a_device(device: Model) -> str:
    """What keeps a VMM from taking this device, as the end of a sentence; empty where nothing is seen."""
    if not all(isinstance(region, Region) for region in device.regions):
        return "has regions that are no passthru.emulation.regions.Region"
    if not all(isinstance(irq, IrqIndex) for irq in device.irqs):
        return "has irqs that are no passthru.emulation.interrupts.IrqIndex"
    if device.device_flags & VFIO_DEVICE_FLAGS_PCI and (len(device.regions) < _REGIONS or len(device.irqs) < _IRQS):
        return (
            f"has {len(device.regions)} regions and {len(device.irqs)} irqs where a PCI device has at least {_REGIONS}"
            f" and {_IRQS}; passthru.emulation.pci.PciModel lays them out"
        )
    return ""


def _models_in(module: ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Model) and value.__module__ == module.__name__
    ]


def _there_are(module: ModuleType) -> str:
    return f"models in it: {', '.join(_models_in(module)) or 'none'}"
