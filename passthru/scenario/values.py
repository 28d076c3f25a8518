# SPDX-License-Identifier: GPL-2.0-or-later
"""Types of the values in a scenario: each says what is wrong with a value in words that follow its key."""

from __future__ import annotations

import os
import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from passthru.qemu.hardware import OWN_PROPERTIES

_WORD = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_SLOT = r"(0[5-9a-f]|1[0-9a-e])\.0"
_LONGEST_SOCKET_PATH = 107  # sun_path of unix(7), but for the zero byte at its end
_FUNCTION = r"[0-9a-fA-F]{2}\.[0-7]"
_PCI_ADDRESS = rf"([0-9a-fA-F]{{4,8}}:)?[0-9a-fA-F]{{2}}:{_FUNCTION}(/{_FUNCTION})*"
_PCI_IDS = r"[0-9a-fA-F]{4}:[0-9a-fA-F]{4}"
_PCI = f"{_WORD}|{_PCI_ADDRESS}|{_PCI_IDS}"
_SYSFS_NAME = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
_ON_CHIP = r"[A-Za-z0-9/][A-Za-z0-9_.,@:+/-]*"
_CONTAINER = r"dprc\.[0-9]+"
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HARDWARE_SLOT = r"[01][0-9a-f]"
_MEMORY = r"([1-9][0-9]{0,5})([MG])"


def _mebibytes(value: object) -> int:
    match = re.fullmatch(_MEMORY, value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('should be an amount with its unit, such as "256M" or "1G"')
    return int(match[1]) * (1024 if match[2] == "G" else 1)


def _one_line(value: str) -> str:
    if "\n" in value or "\0" in value:
        raise ValueError("should be one line")
    return value


def distinct(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("should name each thing once")
    return value


def _without_zero(value: str) -> str:
    if "\0" in value:
        raise ValueError("should not hold a zero byte")
    return value


def _socket_path(value: str) -> str:
    if len(os.fsencode(value)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"should be a path of at most {_LONGEST_SOCKET_PATH} bytes, counted from /")
    return value


Memory = Annotated[
    int,
    BeforeValidator(_mebibytes),
    PlainSerializer(lambda mebibytes: f"{mebibytes}M", return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_MEMORY}$"}),
]
"""Written "256M" or "1G"; in MiB."""


def _word(value: str) -> str:
    if not re.fullmatch(_WORD, value):
        raise ValueError("should be a word of letters, digits, dots, dashes and underscores")
    return value


def _slot(value: str) -> str:
    if not re.fullmatch(_SLOT, value):
        raise ValueError('should be a slot from "05.0" to "1e.0" (the lower ones and 1f are the machine\'s own)')
    return value


Name = Annotated[str, AfterValidator(_word), Field(json_schema_extra={"pattern": f"^{_WORD}$"})]
Slot = Annotated[str, AfterValidator(_slot), Field(json_schema_extra={"pattern": f"^{_SLOT}$"})]
Line = Annotated[str, AfterValidator(_one_line)]
Word = Annotated[str, AfterValidator(_without_zero)]
PathText = Annotated[str, AfterValidator(_one_line), Field(min_length=1)]
SocketPath = Annotated[PathText, AfterValidator(_socket_path)]


def _module(value: str) -> str:
    return _without_zero(value) if "/" in value else _word(value)


Module = Annotated[str, AfterValidator(_module), Field(min_length=1)]
"""The name of a kernel module or recipe, or with a slash the path of a directory of .ko files."""
FileOrName = Module
"""The name of something that passthru has, or with a slash the path of a file of the user's."""


def _pci_function(value: str) -> str:
    if ":" not in value:
        return _word(value)
    if not re.fullmatch(f"{_PCI_ADDRESS}|{_PCI_IDS}", value):
        raise ValueError(
            'should be a name of the rig\'s hardware, an address ("0000:00:05.0", or "00:06.0/00.0" behind a port) or'
            ' vendor and device ("1234:11e8")'
        )
    return value.lower()


PciFunction = Annotated[str, AfterValidator(_pci_function), Field(json_schema_extra={"pattern": f"^({_PCI})$"})]
"""What of the host's is meant: a name of the rig's hardware, an address, or vendor:device."""


def _sysfs_name(value: str) -> str:
    if not re.fullmatch(_SYSFS_NAME, value):
        raise ValueError("should be a name as the kernel has it in /sys/class/mdev_bus")
    return value


SysfsName = Annotated[str, AfterValidator(_sysfs_name), Field(json_schema_extra={"pattern": f"^{_SYSFS_NAME}$"})]


def _on_chip_name(value: str) -> str:
    if not re.fullmatch(_ON_CHIP, value) or "/.." in value:
        raise ValueError(
            'should be a name in sysfs ("9010000.pl031"), the path of a node in the device tree ("/pl031@9010000") or'
            ' what a device is compatible with ("arm,pl031")'
        )
    return value


OnChipName = Annotated[str, AfterValidator(_on_chip_name), Field(json_schema_extra={"pattern": f"^{_ON_CHIP}$"})]
"""A platform or AMBA device of the host's."""


def _container_name(value: str) -> str:
    if not re.fullmatch(_CONTAINER, value):
        raise ValueError('should be a container of the bus fsl-mc, such as "dprc.2"; its objects go with it')
    return value


ContainerName = Annotated[str, AfterValidator(_container_name), Field(json_schema_extra={"pattern": f"^{_CONTAINER}$"})]


def _uuid(value: str) -> str:
    if not re.fullmatch(_UUID, value):
        raise ValueError("should be a UUID, such as 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001")
    return value.lower()


Uuid = Annotated[str, AfterValidator(_uuid), Field(json_schema_extra={"pattern": f"^{_UUID}$"})]


def _hardware_slot(value: str) -> str:
    if not re.fullmatch(_HARDWARE_SLOT, value):
        raise ValueError('should be two hexadecimal digits, such as "06"')
    return value


HardwareSlot = Annotated[
    str, AfterValidator(_hardware_slot), Field(json_schema_extra={"pattern": f"^{_HARDWARE_SLOT}$"})
]


def _not_ours(*ours: str) -> AfterValidator:
    def check(name: str) -> str:
        if name in ours:
            raise ValueError("is set by passthru itself")
        return name

    return AfterValidator(check)


_PropertyName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")]
Property = Annotated[_PropertyName, _not_ours("id", "driver", "addr", "bus", "socket", "host", "sysfsdev", "iommufd")]
"""A property of the QEMU device by which an assignment reaches the guest."""
HardwareProperty = Annotated[_PropertyName, _not_ours(*OWN_PROPERTIES)]
"""A property of the QEMU device that is a rig's hardware."""
