# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.unit.emulation.hostile.serve_scratch scratch``: the device server, with the test's own model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from passthru.emulation import command
from tests.unit.emulation.scratch_model import ScratchModel

if TYPE_CHECKING:
    from passthru.emulation.model import Model


class Scratch(ScratchModel):
    """It has no options."""

    def __init__(self, options: Model.Options) -> None:
        super().__init__()


if __name__ == "__main__":
    command.catalogue = lambda: {"scratch": Scratch}  # type: ignore[attr-defined]
    sys.exit(command.main(sys.argv[1:]))
