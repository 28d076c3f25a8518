# SPDX-License-Identifier: GPL-2.0-or-later
"""Architectures, by the names that Debian, the kernel, QEMU and the C library have for them."""

from __future__ import annotations

import platform
from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """An architecture that passthru makes guests and rigs of."""

    name: str
    """Debian's word, which is passthru's: amd64, arm64."""
    machine: str
    """As uname(2) and QEMU have it: x86_64, aarch64."""
    linux: str
    """The kernel's: its directory below arch/, and what ARCH= is set to."""
    images: tuple[str, ...]
    """What a kernel build tree holds when it is built, the best to boot first."""
    loader: str
    """The file name of the C library's loader (ld.so(8))."""

    @property
    def triplet(self) -> str:
        """GNU's name of it, in the names of compilers and of Debian's folders."""
        return f"{self.machine}-linux-gnu"

    @property
    def libraries(self) -> str:
        """Where an unpacked root of Debian has its libraries."""
        return f"usr/lib/{self.triplet}"


AMD64 = Arch("amd64", "x86_64", "x86", ("arch/x86/boot/bzImage",), "ld-linux-x86-64.so.2")
ARM64 = Arch(
    "arm64", "aarch64", "arm64", ("arch/arm64/boot/Image", "arch/arm64/boot/Image.gz"), "ld-linux-aarch64.so.1"
)
ARCHES = {arch.name: arch for arch in (AMD64, ARM64)}


def of_machine(machine: str) -> Arch | None:
    """The architecture that uname(2) and QEMU call ``machine``; None for one that passthru does not know."""
    return next((arch for arch in ARCHES.values() if arch.machine == machine), None)


def machine_arch() -> str:
    """This machine's architecture in Debian's words."""
    here = of_machine(platform.machine())
    return here.name if here else platform.machine()
