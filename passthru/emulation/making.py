# SPDX-License-Identifier: GPL-2.0-or-later
"""From a model's name and the options that a user gives to a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.emulation.options import build_options
from passthru.errors import UserMistake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.emulation.model import Model
    from passthru.emulation.own_models import OwnModel


def make_device(
    model: str, options: Mapping[str, object], models: Mapping[str, type[Model]], package_root: str | None = None
) -> tuple[Model, OwnModel | None]:
    """The device ``model``, one of ``models`` by name or one of the user's own, which is given besides.

    Raises UserMistake for a model that is not there, options that it does not take, and what is wrong in the user's.
    """
    own = _own_model(model, package_root)
    if own is None and model not in models:
        raise UserMistake(f"there is no model {model!r}; there are {', '.join(models)}")
    kind = own.kind if own else models[model]
    given = build_options(kind.Options, model, options)
    return (own.build(given) if own else kind(given)), own


def _own_model(model: str, package_root: str | None) -> OwnModel | None:
    """The model of the user's own that ``model`` names; None for one that comes with passthru."""
    if ":" not in model and not model.endswith(".py"):
        return None
    from passthru.emulation.own_models import from_file, from_package

    return from_package(model, package_root) if package_root else from_file(model)
