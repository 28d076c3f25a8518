# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the processor of this machine is itself emulated, as in a rig that passthru was installed in."""

from __future__ import annotations

from pathlib import Path

PROCESSORS = Path("/proc/cpuinfo")

SLOWER = 10.0
"""How much longer programs take on a processor that TCG emulates: QEMU starts in 0.25 s, and there in 2.5 s."""

# What TCG calls its processor model `max` (target/i386/cpu.c, max_x86_cpu_realize), the only one of its models with all
# that KVM needs. Under KVM no processor has this name.
_TCG = "QEMU TCG CPU"


def emulated(processors: Path = PROCESSORS) -> bool:
    """Whether QEMU's TCG emulates this machine."""
    try:
        with processors.open() as lines:
            return _TCG in next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        return False
