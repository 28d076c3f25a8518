# SPDX-License-Identifier: GPL-2.0-or-later
"""Mistakes of a model, which a client may find and repeat: they cost the access, or at most the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.complaints import MOST_MISTAKES
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import serving
from tests.unit.emulation.scratch_model import ScratchModel

if TYPE_CHECKING:
    from passthru.emulation.model import Plug
    from tests.unit.emulation.client import Client


def test_a_mistake_that_is_repeated_fills_no_disk(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    access = user.REGION_ACCESS.pack(1, scratch.BROKEN, 1)
    for _ in range(10 * MOST_MISTAKES):
        assert client.call(user.VFIO_USER_REGION_READ, access).error == "EIO"
    said = capsys.readouterr().err
    assert said.count("KeyError: 'a mistake'") == MOST_MISTAKES
    assert said.count("more mistakes like this") == 1


def test_deferred_work_that_breaks_costs_nothing_else(
    client: Client, model: ScratchModel, capsys: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        raise KeyError("deferred")

    model.plug.defer(work)
    client.write(0, 0, b"x")
    client.write(0, scratch.COPY, bytes(24))  # something that defers
    assert client.read(0, 0, 1) == b"x"
    assert "KeyError: 'deferred'" in capsys.readouterr().err


class _Careless(ScratchModel):
    """It breaks where a connection begins or ends."""

    breaks_at = "plugged"

    def plugged(self, plug: Plug) -> None:
        super().plugged(plug)
        if self.breaks_at == "plugged":
            raise RuntimeError("a careless model")

    def unplugged(self) -> None:
        super().unplugged()
        if self.breaks_at == "unplugged":
            raise RuntimeError("a careless model")


@pytest.mark.parametrize("place", ["plugged", "unplugged"])
def test_a_model_that_breaks_with_a_connection_ends_that_connection_only(
    place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _Careless()
    model.breaks_at = place
    with serving(model) as client:
        if place == "plugged":
            assert client.at_end()
    model.breaks_at = ""
    with serving(model) as client:
        client.version()
    model.close()
    assert "RuntimeError: a careless model" in capsys.readouterr().err
