# SPDX-License-Identifier: GPL-2.0-or-later
"""Requests to a worker's operations, without a worker around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from passthru.worker.protocol import RequestError

if TYPE_CHECKING:
    from passthru.worker.devices.operations import Operations


def prepare(operations: Operations, assignment: dict[str, Any]) -> dict[str, Any]:
    """Prepare an assignment, which must succeed; what the reply holds."""
    return operations.answer({"do": "prepare", "assignment": assignment})


def refused(operations: Operations, do: str, **arguments: Any) -> RequestError:
    """A request that must be refused; how it was."""
    with pytest.raises(RequestError) as caught:
        operations.answer({"do": do, **arguments})
    return caught.value
