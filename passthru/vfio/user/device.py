# SPDX-License-Identifier: GPL-2.0-or-later
"""`VfioDevice` over vfio-user: each call is a message that carries what the ioctl does."""

from __future__ import annotations

import errno
import itertools
import mmap
from typing import TYPE_CHECKING

from passthru.vfio import answers
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from passthru.vfio.device import Call, DeviceInfo, IrqInfo, RegionInfo, Transport
from passthru.vfio.info_capabilities import SparseMmap
from passthru.vfio.linux_vfio_features import DEVICE_FEATURE, VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_PROBE
from passthru.vfio.malformed import Malformed
from passthru.vfio.user.incoming import close_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from passthru.vfio.transcript import Transcript
    from passthru.vfio.user.connection import Connection
    from passthru.vfio.user.negotiation import Server

COMMANDS = {
    Call.GET_INFO: user.VFIO_USER_DEVICE_GET_INFO,
    Call.GET_REGION_INFO: user.VFIO_USER_DEVICE_GET_REGION_INFO,
    Call.GET_IRQ_INFO: user.VFIO_USER_DEVICE_GET_IRQ_INFO,
    Call.SET_IRQS: user.VFIO_USER_DEVICE_SET_IRQS,
    Call.RESET: user.VFIO_USER_DEVICE_RESET,
    Call.FEATURE: user.VFIO_USER_DEVICE_FEATURE,
}


class UserDevice:
    """The device behind ``connection``, whose ``server`` agreed upon a version. See `VfioDevice`."""

    transport: Transport = "vfio-user"

    def __init__(self, connection: Connection, server: Server) -> None:
        self.connection = connection
        self.server = server
        self._longest = server.max_data_xfer_size

    @property
    def transcript(self) -> Transcript:
        return self.connection.transcript

    def info(self) -> DeviceInfo:
        return answers.device_info(lambda structure: self._info(Call.GET_INFO, structure))

    def region_info(self, index: int) -> RegionInfo:
        return answers.region_info(lambda structure: self._info(Call.GET_REGION_INFO, structure), index)

    def irq_info(self, index: int) -> IrqInfo:
        return answers.irq_info(lambda structure: self._info(Call.GET_IRQ_INFO, structure), index)

    def set_irqs(
        self,
        flags: int,
        index: int,
        start: int = 0,
        count: int = 1,
        *,
        bools: bytes = b"",
        descriptors: Sequence[int] = (),
    ) -> None:
        """See `VfioDevice`. More descriptors than a message takes go in several, and so does a run of -1 between."""
        if not descriptors or len(descriptors) != count:
            self._set_irqs(flags, index, start, count, bools, descriptors)
            return
        for run in _runs(descriptors, max(1, self.server.max_msg_fds)):
            self._set_irqs(flags, index, start, len(run), bools, run if run[0] >= 0 else ())
            start += len(run)

    def read(self, region: int, offset: int, size: int) -> bytes:
        if size <= self._longest:
            return self.connection.read(region, offset, size)
        data = bytearray()
        while len(data) < size:
            wanted = min(self._longest, size - len(data))
            part = self.connection.read(region, offset + len(data), wanted)
            data += part
            if len(part) < wanted:
                break
        return bytes(data)

    def write(self, region: int, offset: int, data: bytes) -> int:
        if len(data) <= self._longest:
            return self.connection.write(region, offset, data)
        done = 0
        while done < len(data):
            part = data[done : done + self._longest]
            taken = self.connection.write(region, offset + done, part)
            done += taken
            if taken < len(part):
                break
        return done

    def write_posted(self, region: int, offset: int, data: bytes) -> None:
        """REGION_WRITE that wants no reply, as QEMU writes to memory BARs."""
        payload = user.REGION_ACCESS.pack(offset, region, len(data)) + data
        self.connection.post(user.VFIO_USER_REGION_WRITE, payload)

    def write_multi(self, writes: Sequence[tuple[int, int, bytes]]) -> int:
        """REGION_WRITE_MULTI of (region, offset, at most 8 bytes) each; returns how many were done."""
        payload = user.WRITE_MULTI.pack(len(writes)) + b"".join(
            user.WRITE_MULTI_ENTRY.pack(offset, region, len(data), data) for region, offset, data in writes
        )
        answer = self._ask(user.VFIO_USER_REGION_WRITE_MULTI, payload)
        (done,) = answers.fields("REGION_WRITE_MULTI", user.WRITE_MULTI, answer)
        if done > len(writes):
            raise Malformed(f"{done} of {len(writes)} writes were done by the answer to REGION_WRITE_MULTI")
        return done

    def map(self, region: int, offset: int, size: int) -> mmap.mmap:
        """See `VfioDevice`. What cannot be mapped is EINVAL, as it is of the kernel's mmap of a device."""
        info = self.region_info(region)
        if not info.flags & vfio.VFIO_REGION_INFO_FLAG_MMAP or not _mappable(info, offset, size):
            raise OSError(errno.EINVAL, f"{size:#x} bytes at {offset:#x} of region {region} cannot be mapped")
        access = bool(info.flags & vfio.VFIO_REGION_INFO_FLAG_READ) * mmap.PROT_READ
        access |= bool(info.flags & vfio.VFIO_REGION_INFO_FLAG_WRITE) * mmap.PROT_WRITE
        descriptors = self._region_descriptors(region)
        try:
            if len(descriptors) != 1:
                raise Malformed(f"region {region} can be mapped, and came with {len(descriptors)} descriptors")
            return mmap.mmap(descriptors[0], size, prot=access, offset=info.offset + offset)
        finally:
            close_all(descriptors)

    def reset(self) -> None:
        _empty("DEVICE_RESET", self._ask(user.VFIO_USER_DEVICE_RESET))

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        """See `VfioDevice`. Where data is read and none is said, what is all zero is room and is not sent."""
        room = DEVICE_FEATURE.size + len(data)
        get = flags & VFIO_DEVICE_FEATURE_GET and not flags & VFIO_DEVICE_FEATURE_PROBE
        sent = b"" if get and not any(data) else data
        answer = self._ask(user.VFIO_USER_DEVICE_FEATURE, DEVICE_FEATURE.pack(room, flags) + sent)
        argsz, answered = answers.fields("vfio_device_feature", DEVICE_FEATURE, answer)
        if answered != flags or argsz < DEVICE_FEATURE.size or len(answer) > room:
            raise Malformed(
                f"DEVICE_FEATURE with flags {flags:#x} and room for {room} bytes was answered with argsz {argsz}, flags"
                f" {answered:#x} and {len(answer)} bytes"
            )
        return answer[DEVICE_FEATURE.size :]

    def region_io_fds(self, index: int) -> tuple[bytes, list[int]]:
        """DEVICE_GET_REGION_IO_FDS: the sub-regions of a region as they stand, and their descriptors to close."""
        room = user.REGION_IO_FDS.size
        for _ in range(2):
            payload = user.REGION_IO_FDS.pack(room, 0, index, 0)
            answer, descriptors = self.connection.ask(user.VFIO_USER_DEVICE_GET_REGION_IO_FDS, payload)
            try:
                needed, _, answered, _ = answers.fields("REGION_IO_FDS", user.REGION_IO_FDS, answer)
                if answered != index or needed > answers.LARGEST_ARGSZ:
                    raise Malformed(f"asked for region {index}, the answer is {needed} bytes of region {answered}")
            except BaseException:
                close_all(descriptors)
                raise
            if needed <= room:
                return answer[user.REGION_IO_FDS.size :], descriptors
            close_all(descriptors)
            room = needed
        raise Malformed(f"the io descriptors of region {index} need ever more room, {room} bytes now")

    def call(self, call: Call, structure: bytes, descriptors: Sequence[int] = ()) -> bytes:
        command = COMMANDS.get(call)
        if command is None:
            raise OSError(errno.ENOTTY, f"vfio-user has no message for {call.value}")
        return self._ask(command, structure, descriptors)

    def wait_readable(self, descriptor: int, seconds: float) -> bool:
        return self.connection.wait_readable(descriptor, seconds)

    def close(self) -> None:
        self.connection.close()

    def _ask(self, command: int, payload: bytes = b"", descriptors: Sequence[int] = ()) -> bytes:
        answer = self.connection.ask(command, payload, descriptors)
        close_all(answer.descriptors)
        return answer.payload

    def _info(self, call: Call, structure: bytes) -> bytes:
        """An info structure's answer; its length is checked, as the kernel cannot write more than it has room for."""
        answer = self._ask(COMMANDS[call], structure)
        given, told = (int.from_bytes(each[:4], "little") for each in (structure, answer))
        if len(answer) > given or (told <= given and len(answer) != told):
            raise Malformed(
                f"{call.value} with argsz {given} was answered with {len(answer)} bytes, which say that they are {told}"
            )
        return answer

    def _region_descriptors(self, region: int) -> list[int]:
        """The descriptors that come with the whole of a region's info."""
        room = vfio.REGION_INFO.size
        for _ in range(2):
            payload = vfio.REGION_INFO.pack(room, 0, region, 0, 0, 0)
            answer, descriptors = self.connection.ask(user.VFIO_USER_DEVICE_GET_REGION_INFO, payload)
            needed = int.from_bytes(answer[:4], "little")
            if needed <= room:
                return descriptors
            close_all(descriptors)
            room = min(needed, answers.LARGEST_ARGSZ)
        raise Malformed(f"the info of region {region} needs ever more room, {needed} bytes now")

    def _set_irqs(
        self, flags: int, index: int, start: int, count: int, bools: bytes, descriptors: Sequence[int]
    ) -> None:
        payload = vfio.IRQ_SET.pack(vfio.IRQ_SET.size + len(bools), flags, index, start, count) + bools
        _empty("DEVICE_SET_IRQS", self._ask(user.VFIO_USER_DEVICE_SET_IRQS, payload, descriptors))


def _empty(name: str, answer: bytes) -> None:
    if answer:
        raise Malformed(f"{name} was answered with {len(answer)} bytes after the header, where none belong")


def _mappable(info: RegionInfo, offset: int, size: int) -> bool:
    areas = [each.areas for each in info.capabilities if isinstance(each, SparseMmap)]
    parts: Iterable[tuple[int, int]] = itertools.chain(*areas) if areas else ((0, info.size),)
    return size > 0 and any(start <= offset and offset + size <= start + length for start, length in parts)


def _runs(descriptors: Sequence[int], longest: int) -> Iterator[list[int]]:
    """Runs of descriptors, or of -1, none longer than a message takes."""
    for _, group in itertools.groupby(descriptors, key=lambda descriptor: descriptor >= 0):
        run = list(group)
        for at in range(0, len(run), longest):
            yield run[at : at + longest]
