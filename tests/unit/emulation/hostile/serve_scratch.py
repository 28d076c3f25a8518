# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.unit.emulation.hostile.serve_scratch scratch``: the device server, with the test's own model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from passthru.emulation import command
from passthru.emulation.regions import Region
from tests.unit.emulation.scratch_model import BROKEN, ScratchModel

if TYPE_CHECKING:
    from passthru.emulation.model import Model


class Scratch(ScratchModel):
    """It has no options, and not the region that makes mistakes: here a mistake is one of the server."""

    def __init__(self, options: Model.Options) -> None:
        super().__init__()
        self.regions = [Region(16) if index == BROKEN else region for index, region in enumerate(self.regions)]


if __name__ == "__main__":
    command.catalogue = lambda: {"scratch": Scratch}  # type: ignore[attr-defined]
    sys.exit(command.main(sys.argv[1:]))
