# SPDX-License-Identifier: GPL-2.0-or-later
"""Configurations of kernels: what a .config sets, the one inside an image, and fragments of one."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from passthru.errors import Unusable, UserMistake
from passthru.image.bzimage import unpacked
from passthru.image.unpacking import decompress

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_OPTION = re.compile(rb"^CONFIG_(\w+)=(.*)$", re.MULTILINE)
_LINE = re.compile(r'CONFIG_(\w+)=([ymn]|-?\d+|0x[0-9a-fA-F]+|"[^"]*")')


def parse_config(text: bytes) -> dict[str, str]:
    """The options that a .config sets; names without ``CONFIG_``, strings with their quotes."""
    return {name.decode(): value.decode(errors="replace") for name, value in _OPTION.findall(text)}


def read_fragment(lines: Iterable[str], where: str) -> dict[str, str]:
    """The options of a fragment, ``n`` among them; UserMistake names the line of ``where`` that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if not match:
            raise UserMistake(f"{where}:{number}: {text!r} sets no option; write it as CONFIG_PCI=y")
        if match[1] in found:
            raise UserMistake(f"{where}:{number}: CONFIG_{match[1]} was set above; remove one of the two")
        found[match[1]] = match[2]
    return found


def unmet(
    fragment: Mapping[str, str], config: Mapping[str, str], renamed: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """What ``config`` does not have as the fragment sets it: ``CONFIG_KVM=m (it is y)``.

    ``renamed`` maps options to other names, by which they may have come out instead.
    """
    return [
        f"CONFIG_{name}={value} (it is {config.get(name, 'not set')})"
        for name, value in fragment.items()
        if value not in (config.get(name, "n"), config.get(renamed.get(name, name), "n"))
    ]


def embedded_config(data: bytes) -> bytes | None:
    """The configuration inside a bzImage built with CONFIG_IKCONFIG (kernel/configs.c), None if there is none."""
    plain = unpacked(data) if data[0x202:0x206] == b"HdrS" else data
    if plain is None:
        return None
    begin = plain.find(b"IKCFG_ST")
    end = plain.find(b"IKCFG_ED", begin)
    if begin < 0 or end < 0:
        return None
    try:
        return decompress(plain[begin + 8 : end], "the kernel's embedded configuration")
    except Unusable:
        return None
