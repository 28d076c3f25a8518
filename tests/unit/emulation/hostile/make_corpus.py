# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m tests.unit.emulation.hostile.make_corpus``: writes the corpus; a test sees that it is as written here.

To add a conversation, add it to one of the modules in ``cases`` and run this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.unit.emulation.hostile.cases.accesses import infos, regions
from tests.unit.emulation.hostile.cases.descriptors import descriptors
from tests.unit.emulation.hostile.cases.framing import framing
from tests.unit.emulation.hostile.cases.interrupts import interrupts
from tests.unit.emulation.hostile.cases.memory import dma_by_messages, mappings
from tests.unit.emulation.hostile.cases.versions import versions
from tests.unit.emulation.hostile.corpus_files import CORPUS, text

if TYPE_CHECKING:
    from collections.abc import Mapping


def files() -> Mapping[str, str]:
    """The corpus: texts by file name."""
    made: dict[str, str] = {}
    for cases in (framing, versions, regions, infos, mappings, interrupts, descriptors, dma_by_messages):
        for name, case in cases():
            file_name = f"{name}.txt"
            assert file_name not in made, file_name
            made[file_name] = text(case)
    return made


def main() -> None:
    """Write the corpus, and remove what is not of it."""
    wanted = files()
    CORPUS.mkdir(exist_ok=True)
    for path in CORPUS.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, content in wanted.items():
        (CORPUS / name).write_text(content)
    print(f"{len(wanted)} conversations in {CORPUS}")


if __name__ == "__main__":
    main()
