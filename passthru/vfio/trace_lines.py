# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of vfio-user conversations as lines that a person can read."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, BinaryIO

from passthru.errors import UserMistake
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import trace
from passthru.vfio import user_messages as user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IRQ_SET_FLAGS = ("none", "bool", "eventfd", "mask", "unmask", "trigger")
_SHOWN_BYTES = 32
_EVENTS = {trace.CONNECTED: "client connected", trace.DISCONNECTED: "client left"}


def read_trace(path: Path) -> Iterator[str]:
    """The lines of a trace: seconds since its start, ``>`` for to the server or ``<`` for to the client, message.

    Raises UserMistake for what is no trace. A last record that was cut off is told in the last line.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserMistake(f"the trace {path} cannot be read: {error.strerror}") from error
    with file:
        header = file.read(trace.FILE_HEADER.size)
        if len(header) < trace.FILE_HEADER.size or not header.startswith(trace.MAGIC):
            raise UserMistake(f"{path} is no vfio-user trace")
        known = trace.FILE_HEADER.unpack(header)[1]
        if known != trace.FORMAT:
            raise UserMistake(f"the trace {path} has format {known}; this passthru reads format {trace.FORMAT}")
        yield from _records(file)


def _records(file: BinaryIO) -> Iterator[str]:
    while head := file.read(trace.RECORD.size):
        if len(head) < trace.RECORD.size:
            yield "(the trace was cut off here)"
            return
        when, kind, descriptors, length = trace.RECORD.unpack(head)
        data = file.read(length) if length <= trace.CAPTURE_LIMIT else b""
        if len(data) < length:
            yield "(the trace was cut off here)"
            return
        if kind in (trace.FROM_CLIENT, trace.FROM_SERVER):
            text = f"{'<' if kind else '>'} {describe(data)}"
            if descriptors:
                text += f" +{descriptors} fd{'s' * (descriptors > 1)}"
        else:
            text = f"- {_EVENTS.get(kind) or _text(data)}"
        yield f"{when / 1e9:12.6f} {text}"


def describe(message: bytes) -> str:
    """One message as text: name, id and fields; what is cut short or unknown is shown as bytes."""
    if len(message) < user.HEADER.size:
        return f"fragment {_hex(message)}"
    message_id, command, size, flags, error = user.HEADER.unpack_from(message)
    payload = message[user.HEADER.size :]
    words = [user.COMMAND_NAMES.get(command, f"command {command}"), f"id={message_id}"]
    if flags & user.TYPE_MASK == user.TYPE_REPLY:
        words.append(f"error={errno.errorcode.get(error, error)}" if flags & user.ERROR else "ok")
    elif flags & user.NO_REPLY:
        words.append("no-reply")
    if payload:
        words.append(_fields(command, flags & user.TYPE_MASK == user.TYPE_REPLY, payload))
    if size > trace.CAPTURE_LIMIT:
        words.append(f"({size} bytes)")
    return " ".join(words)


def _fields(command: int, is_reply: bool, payload: bytes) -> str:
    try:
        if command in (user.VFIO_USER_REGION_READ, user.VFIO_USER_REGION_WRITE):
            offset, region, count = user.REGION_ACCESS.unpack_from(payload)
            return _joined(f"{_region(region)}+{offset:#x} count={count}", payload[user.REGION_ACCESS.size :])
        if command in (user.VFIO_USER_DMA_READ, user.VFIO_USER_DMA_WRITE):
            address, count = user.DMA_ACCESS.unpack_from(payload)
            return _joined(f"address={address:#x} count={count}", payload[user.DMA_ACCESS.size :])
        if command == user.VFIO_USER_VERSION:
            major, minor = user.VERSION.unpack_from(payload)
            return f"{major}.{minor} {_text(payload[user.VERSION.size :].rstrip(bytes(1)))}"
        if command == user.VFIO_USER_DMA_MAP:
            _, flags, offset, address, size = user.DMA_MAP.unpack_from(payload)
            return f"address={address:#x} size={size:#x} offset={offset:#x} flags={flags:#x}"
        if command == user.VFIO_USER_DMA_UNMAP:
            _, flags, address, size = user.DMA_UNMAP.unpack_from(payload)
            return f"address={address:#x} size={size:#x} flags={flags:#x}"
        if command == user.VFIO_USER_DEVICE_GET_INFO:
            argsz, flags, regions, irqs = vfio.DEVICE_INFO.unpack_from(payload)
            return f"regions={regions} irqs={irqs} flags={flags:#x}" if is_reply else f"argsz={argsz}"
        if command == user.VFIO_USER_DEVICE_GET_REGION_INFO:
            argsz, flags, index, _, size, offset = vfio.REGION_INFO.unpack_from(payload)
            shown = f" size={size:#x} offset={offset:#x} flags={flags:#x}" if is_reply else ""
            return f"{_region(index)} argsz={argsz}{shown}"
        if command == user.VFIO_USER_DEVICE_GET_IRQ_INFO:
            _, flags, index, count = vfio.IRQ_INFO.unpack_from(payload)
            return _irq(index) + (f" count={count} flags={flags:#x}" if is_reply else "")
        if command == user.VFIO_USER_DEVICE_SET_IRQS:
            _, flags, index, start, count = vfio.IRQ_SET.unpack_from(payload)
            names = "|".join(name for bit, name in enumerate(_IRQ_SET_FLAGS) if flags >> bit & 1)
            shown = f"{_irq(index)} {names or hex(flags)} start={start} count={count}"
            return _joined(shown, payload[vfio.IRQ_SET.size :])
        if command == user.VFIO_USER_REGION_WRITE_MULTI:
            (count,) = user.WRITE_MULTI.unpack_from(payload)
            return f"writes={count}"
    except struct.error as error:  # a message that was malformed on the wire is what a trace is read for
        return f"malformed ({error}) {_hex(payload)}"
    return _hex(payload)


def _joined(text: str, data: bytes) -> str:
    return f"{text} data={_hex(data)}" if data else text


def _text(data: bytes) -> str:
    """Text of a peer, which must not move the reader's cursor."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in data.decode(errors="replace")
    )


def _region(index: int) -> str:
    return vfio.PCI_REGION_NAMES[index] if index < len(vfio.PCI_REGION_NAMES) else f"region{index}"


def _irq(index: int) -> str:
    return vfio.PCI_IRQ_NAMES[index] if index < len(vfio.PCI_IRQ_NAMES) else f"irq{index}"


def _hex(data: bytes) -> str:
    more = f" ... ({len(data)} bytes)" if len(data) > _SHOWN_BYTES else ""
    return data[:_SHOWN_BYTES].hex(" ") + more
