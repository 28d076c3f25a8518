# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking for info structures and understanding the answers, the same for both transports.

``call`` takes a structure, with the room for the answer in its first field (argsz), and returns the answer. One whose
argsz was too small for the capabilities tells how much they need, and is asked again with that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio.device import DeviceInfo, IrqInfo, RegionInfo
from passthru.vfio.info_capabilities import DEVICE, REGION, Chain, InfoCapability, parse_capabilities
from passthru.vfio.malformed import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable
    from struct import Struct

    Ask = Callable[[bytes], bytes]

LARGEST_ARGSZ = 1 << 20
"""Bytes; more than this is no info structure."""


def device_info(call: Ask) -> DeviceInfo:
    """VFIO_DEVICE_GET_INFO. Raises Malformed, and OSError as ``call``.

    The capabilities came after the interface: who does not know them answers with the first 16 bytes.
    """
    answer = ask(call, vfio.DEVICE_INFO.pack(DEVICE.size, 0, 0, 0) + bytes(DEVICE.size - vfio.DEVICE_INFO.size))
    _, flags, regions, irqs = fields("vfio_device_info", vfio.DEVICE_INFO, answer)
    capabilities: tuple[InfoCapability, ...] = ()
    if flags & vfio.VFIO_DEVICE_FLAGS_CAPS:
        capabilities = chain_of(DEVICE, answer, vfio.DEVICE_INFO.size)
    return DeviceInfo(flags, regions, irqs, capabilities)


def region_info(call: Ask, index: int) -> RegionInfo:
    """VFIO_DEVICE_GET_REGION_INFO. Raises Malformed, and OSError as ``call``."""
    answer = ask(call, vfio.REGION_INFO.pack(vfio.REGION_INFO.size, 0, index, 0, 0, 0))
    _, flags, answered, _, size, offset = fields("vfio_region_info", vfio.REGION_INFO, answer)
    if answered != index:
        raise Malformed(f"asked for region {index}, the answer is of region {answered}")
    capabilities: tuple[InfoCapability, ...] = ()
    if flags & vfio.VFIO_REGION_INFO_FLAG_CAPS:
        capabilities = chain_of(REGION, answer, _REGION_CAP_OFFSET)
    return RegionInfo(index, flags, size, offset, capabilities)


def irq_info(call: Ask, index: int) -> IrqInfo:
    """VFIO_DEVICE_GET_IRQ_INFO. Raises Malformed, and OSError as ``call``."""
    answer = call(vfio.IRQ_INFO.pack(vfio.IRQ_INFO.size, 0, index, 0))
    _, flags, answered, count = fields("vfio_irq_info", vfio.IRQ_INFO, answer)
    if answered != index:
        raise Malformed(f"asked for irq index {index}, the answer is of index {answered}")
    return IrqInfo(index, flags, count)


def ask(call: Ask, structure: bytes) -> bytes:
    """The answer to a structure, asked again with the argsz that it tells where that is more."""
    answer = call(structure)
    given, needed = _argsz(structure), _argsz(answer)
    if needed <= given:
        return answer
    if needed > LARGEST_ARGSZ:
        raise Malformed(f"the answer asks for {needed} bytes of room")
    answer = call(needed.to_bytes(4, "little") + structure[4:])
    if _argsz(answer) > needed:
        raise Malformed(f"the answer asked for {needed} bytes of room, and with those for {_argsz(answer)}")
    return answer


def fields(name: str, layout: Struct, answer: bytes) -> tuple[int, ...]:
    """The fields of an answer; raises Malformed where it is too short for them."""
    if len(answer) < layout.size:
        raise Malformed(f"a {name} of {len(answer)} bytes came, which has {layout.size}")
    return layout.unpack_from(answer)


def chain_of(chain: Chain, answer: bytes, place: int) -> tuple[InfoCapability, ...]:
    """The capabilities of an answer whose flags promise some; their offset is in the 4 bytes at ``place``.

    Raises Malformed where it is cut short, or where the promised chain is not there although it had room.
    """
    if len(answer) < chain.size:
        raise Malformed(f"a {chain.structure} with capabilities came in {len(answer)} bytes, less than its own")
    cap_offset = int.from_bytes(answer[place : place + 4], "little")
    if not cap_offset:
        raise Malformed(f"the flags of {chain.structure} promise capabilities, and cap_offset is 0")
    return parse_capabilities(chain, answer[: max(_argsz(answer), chain.size)], cap_offset)


_REGION_CAP_OFFSET = 12


def _argsz(structure: bytes) -> int:
    return int.from_bytes(structure[:4], "little")
