# SPDX-License-Identifier: GPL-2.0-or-later
"""The messages of vfio-user, as docs/interop/vfio-user.rst of QEMU names them; shared by server and client.

A message is a header of 16 bytes and a payload. The payloads that mirror an ioctl are in `linux_vfio`. Every
number is little endian; every offset below counts from the start of the payload.
"""

from __future__ import annotations

from struct import Struct

# message id, command, size of the whole message, flags, errno (valid with the error flag only)
HEADER = Struct("<HHIII")

VFIO_USER_VERSION = 1
VFIO_USER_DMA_MAP = 2
VFIO_USER_DMA_UNMAP = 3
VFIO_USER_DEVICE_GET_INFO = 4
VFIO_USER_DEVICE_GET_REGION_INFO = 5
VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6
VFIO_USER_DEVICE_GET_IRQ_INFO = 7
VFIO_USER_DEVICE_SET_IRQS = 8
VFIO_USER_REGION_READ = 9
VFIO_USER_REGION_WRITE = 10
VFIO_USER_DMA_READ = 11
VFIO_USER_DMA_WRITE = 12
VFIO_USER_DEVICE_RESET = 13
VFIO_USER_DIRTY_PAGES = 14  # obsolete
VFIO_USER_REGION_WRITE_MULTI = 15
VFIO_USER_DEVICE_FEATURE = 16
VFIO_USER_MIG_DATA_READ = 17
VFIO_USER_MIG_DATA_WRITE = 18

COMMAND_NAMES = {
    VFIO_USER_VERSION: "VERSION",
    VFIO_USER_DMA_MAP: "DMA_MAP",
    VFIO_USER_DMA_UNMAP: "DMA_UNMAP",
    VFIO_USER_DEVICE_GET_INFO: "DEVICE_GET_INFO",
    VFIO_USER_DEVICE_GET_REGION_INFO: "DEVICE_GET_REGION_INFO",
    VFIO_USER_DEVICE_GET_REGION_IO_FDS: "DEVICE_GET_REGION_IO_FDS",
    VFIO_USER_DEVICE_GET_IRQ_INFO: "DEVICE_GET_IRQ_INFO",
    VFIO_USER_DEVICE_SET_IRQS: "DEVICE_SET_IRQS",
    VFIO_USER_REGION_READ: "REGION_READ",
    VFIO_USER_REGION_WRITE: "REGION_WRITE",
    VFIO_USER_DMA_READ: "DMA_READ",
    VFIO_USER_DMA_WRITE: "DMA_WRITE",
    VFIO_USER_DEVICE_RESET: "DEVICE_RESET",
    VFIO_USER_DIRTY_PAGES: "DIRTY_PAGES",
    VFIO_USER_REGION_WRITE_MULTI: "REGION_WRITE_MULTI",
    VFIO_USER_DEVICE_FEATURE: "DEVICE_FEATURE",
    VFIO_USER_MIG_DATA_READ: "MIG_DATA_READ",
    VFIO_USER_MIG_DATA_WRITE: "MIG_DATA_WRITE",
}

# Header flags
TYPE_MASK = 0xF
TYPE_COMMAND = 0
TYPE_REPLY = 1
NO_REPLY = 1 << 4
ERROR = 1 << 5
KNOWN_FLAGS = TYPE_MASK | NO_REPLY | ERROR

# major, minor; then JSON text, ended by NUL
VERSION = Struct("<HH")
# argsz, flags, offset in the descriptor, address, size
DMA_MAP = Struct("<IIQQQ")
# argsz, flags, address, size
DMA_UNMAP = Struct("<IIQQ")
DMA_MAP_FLAG_MMAP = 1 << 2  # new in the specification of QEMU 11.1
DMA_MAP_FLAG_FILE_IO = 1 << 3
# argsz, flags, index, count; then entries of 40 bytes
REGION_IO_FDS = Struct("<IIII")
# offset, region, count; then data
REGION_ACCESS = Struct("<QII")
# header and region access of one message, read and written in one go by those who hurry
REGION_MESSAGE = Struct("<HHIIIQII")
# number of writes; then that many of: offset, region, count, 8 bytes of which the first `count` are data
WRITE_MULTI = Struct("<Q")
WRITE_MULTI_ENTRY = Struct("<QII8s")
# address, count; then data
DMA_ACCESS = Struct("<QQ")
# QEMU before 11.1 has a count of 32 bits and the data right behind it, 4 bytes before their place
DMA_ACCESS_SHIFTED = Struct("<QI")

MAX_MESSAGE_SIZE = 64 << 20  # QEMU refuses a larger max_data_xfer_size


def command(message_id: int, number: int, payload: bytes = b"", flags: int = 0) -> bytes:
    """A whole command message."""
    return HEADER.pack(message_id, number, HEADER.size + len(payload), flags, 0) + payload


def reply(message_id: int, number: int, payload: bytes = b"") -> bytes:
    """A whole reply message."""
    return HEADER.pack(message_id, number, HEADER.size + len(payload), TYPE_REPLY, 0) + payload


def error_reply(message_id: int, number: int, errno: int) -> bytes:
    """A reply that carries an errno; it is a bare header."""
    return HEADER.pack(message_id, number, HEADER.size, TYPE_REPLY | ERROR, errno)
