# SPDX-License-Identifier: GPL-2.0-or-later
"""The VM of a rig, an emulated host: a machine with an IOMMU, the worker's lines, its drives and its hardware.

Slots of its first bus: 01 IOMMU (where that is a PCI device), 02 lines, 03 drives, 04 bridge, 05 to 1e hardware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.qemu.argv import Device, Line, Vm, command_line, plain
from passthru.qemu.boards import BOARDS
from passthru.qemu.hardware import hardware_devices, needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from passthru.qemu.hardware import Hardware

WORKER = "worker"
"""The stream of the worker's own port."""
CONSOLE = "shell"
"""The stream of the console where a person gets a shell."""
WORKER_PORT = "passthru.worker"
LINE_PORT = "passthru.line"
LINES = 12
"""Lines for streams of the worker's children."""

_LINES_SLOT, _DRIVES_SLOT = "02.0", "03"
_MOST_DRIVES = 8  # functions of one slot
_UNSAFE_WORDS = ("vfio_iommu_type1.allow_unsafe_interrupts=1", "iommufd.allow_unsafe_interrupts=1")


def line_stream(number: int) -> str:
    """The stream of the line ``number``, from 0."""
    return f"line{number}"


def rig_lines(count: int = LINES, *, shell: bool = False) -> tuple[Line, ...]:
    """The worker's port, ``count`` lines for its children's streams, and a console for a person."""
    lines = [Line(WORKER, WORKER_PORT, "the worker's port")]
    lines += [Line(line_stream(number), f"{LINE_PORT}{number}") for number in range(count)]
    return (*lines, *([Line(CONSOLE, title="a shell's console")] if shell else []))


def qemu_needs(iommu: str, hardware: Iterable[Hardware], arch: str = "amd64") -> frozenset[str]:
    """The devices that the QEMU which emulates a rig must have."""
    own = {"virtio-serial-pci", "virtserialport", "virtconsole", "virtio-blk-pci"}
    if device := BOARDS[arch].iommus[iommu].device:
        own.add(device.driver)
    return frozenset(own | needed(hardware))


def rig_vm(
    kernel: Path,
    initrd: Path,
    drives: Mapping[str, Path],
    *,
    arch: str = "amd64",
    iommu: str = "",
    hardware: Sequence[Hardware] = (),
    serials: Sequence[str] = (),
    memory_mib: int = 2048,
    cpus: int = 2,
    words: Sequence[str] = (),
    unsafe_interrupts: bool = False,
    with_kvm: bool = True,
    shell: bool = False,
    lines: int = LINES,
    tree: Path | None = None,
    ram: str = "",
) -> Vm:
    """The rig's VM; run it by ``argv.guest_argv`` with an accelerator of ``accelerator.of_rig``.

    ``arch`` is Debian's word, ``iommu`` one of its board's. ``drives``: serial number -> block image, none of them
    written to. ``serials`` are the streams of its further serial ports. ``words`` are further kernel parameters, the
    accelerator's and the user's. ``with_kvm`` gives an emulated rig KVM for its guest, where the board has an option
    for that. ``tree`` and ``ram`` are those of Vm. Raises Misplaced.
    """
    if len(drives) > _MOST_DRIVES:
        raise ValueError(f"{len(drives)} drives; the slot for them has {_MOST_DRIVES} functions")
    board = BOARDS[arch]
    given = board.iommus[iommu or next(iter(board.iommus))]
    if len(serials) > board.serials:
        raise ValueError(f"{len(serials)} further serial ports; {board.machine} has {board.serials}")
    # The IOMMU first: QEMU gives it only those devices that come after it.
    first = (given.device,) if given.device else ()
    blocks = tuple(_drive(number, serial, path) for number, (serial, path) in enumerate(drives.items()))
    own = (
        *given.words,
        *(_UNSAFE_WORDS if unsafe_interrupts else ()),
        *(("passthru.shell",) if shell else ()),
    )
    options = (given.option, board.with_kvm if with_kvm else "")
    return Vm(
        kernel=kernel,
        initrd=initrd,
        cmdline=command_line(*own, *words, arch=board.emulates),
        machine=",".join((board.machine, *filter(None, options))),
        memory_mib=memory_mib,
        cpus=cpus,
        devices=(*first, *blocks, *hardware_devices(hardware)),
        lines=rig_lines(lines, shell=shell),
        lines_slot=_LINES_SLOT,
        arch=board.emulates,
        serials=tuple(serials),
        tree=tree,
        ram=ram,
    )


def _drive(number: int, serial: str, path: Path) -> Device:
    name = f"drive-{serial}"
    backend = f"if=none,id={name},format=raw,readonly=on,file={plain(path)}"
    properties = {"id": f"disk-{serial}", "addr": f"{_DRIVES_SLOT}.{number}", "multifunction": True}
    return Device("virtio-blk-pci", {**properties, "drive": name, "serial": serial}, backends=(("-drive", backend),))
