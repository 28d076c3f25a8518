# SPDX-License-Identifier: GPL-2.0-or-later
"""How much can be mapped: as many mappings as there may be, and not one more."""

from __future__ import annotations

import errno
import mmap
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.vfio.conform.iova import free, page_of
from passthru.vfio.conform.registry import test

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_ENTRY_LIMIT = Path("/sys/module/vfio_iommu_type1/parameters/dma_entry_limit")
_FEW = 1024  # mappings that a test makes to see that there can be no more


@test(
    "type1",
    cites="VFIO_IOMMU_MAP_DMA: ENOSPC; the module parameter dma_entry_limit, told as DMA_AVAIL",
    fresh=True,
)
def no_more_is_mapped_than_the_limit(case: Case) -> None:
    """With as many mappings as a container may have, one more is refused with ENOSPC; after an unmapping it is not.

    For the moment in which the container gets its IOMMU, the module's parameter says 4 instead of 65535.
    """
    try:
        before = _ENTRY_LIMIT.read_text()
        _ENTRY_LIMIT.write_text("4")
    except OSError as error:
        case.missing(f"{_ENTRY_LIMIT} cannot be written: {error.strerror}")
    try:
        opened = case.open()
    finally:
        _ENTRY_LIMIT.write_text(before)
    dma = case.tracked(opened)
    case.expect(dma.info().available == 4, f"{dma.info().available} mappings are left where 4 are the limit")
    memory = case.buffer(mmap.PAGESIZE)
    iova = 16 << 20
    for number in range(4):
        dma.map(iova + number * mmap.PAGESIZE, mmap.PAGESIZE, memory.descriptor)
    with case.refused(errno.ENOSPC, what="the fifth of 4 mappings"):
        dma.map(iova + 4 * mmap.PAGESIZE, mmap.PAGESIZE, memory.descriptor)
    dma.unmap(iova, mmap.PAGESIZE)
    dma.map(iova + 4 * mmap.PAGESIZE, mmap.PAGESIZE, memory.descriptor)


@test("vfio-user", "dma", cites="VFIO_USER_VERSION: max_dma_maps, the maximum number of DMA map windows")
def no_more_is_mapped_than_the_server_takes(case: Case) -> None:
    """A server takes as many mappings as it said; one that said few is given them all, and one more."""
    available = case.dma.info().available or 0
    if available > _FEW:
        case.missing(f"the server takes {available} mappings, which are too many to try")
    page = page_of(case)
    iova, memory = free(case, (available + 1) * page), case.buffer(page)
    for number in range(available):
        case.dma.map(iova + number * page, page, memory.descriptor)
    with case.refused(what=f"mapping {available + 1} of {available}"):
        case.dma.map(iova + available * page, page, memory.descriptor)
