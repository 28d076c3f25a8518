# SPDX-License-Identifier: GPL-2.0-or-later
"""An arm64 rig that is up, with the least around it: a machine for tests of its images."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from passthru.deadline import Deadline
from passthru.events import tell_nobody
from passthru.host import open_local_host
from passthru.host.rig import RIG, RigSpec, open_rig
from passthru.image.arch import ARM64
from passthru.image.rig import CODE_HOME, PYTHON
from passthru.qemu import accelerator as accelerators
from passthru.qemu import find as qemus
from passthru.qemu.argv import SERIAL, Device, Line, Vm, command_line
from passthru.qemu.rig import LINE_PORT, WORKER, WORKER_PORT
from passthru.run.assembly import vm_child
from passthru.run.host_hand import HostPrograms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from passthru.image.rig import RigImage
    from passthru.image.store import Store

SECONDS = 60.0
MACHINE = "virt,gic-version=3,iommu=smmuv3"


@dataclass(frozen=True)
class ArmRig:
    """The handle: programs in the rig, run to their end."""

    programs: HostPrograms

    async def succeed(self, *argv: str) -> str:
        """Run a program, which must succeed; returns what it printed."""
        ended = await self.programs.run(argv, env={}, deadline=Deadline.after(SECONDS))
        printed = ended.stdout.decode(errors="replace")
        assert ended.status == 0, f"{argv} ended with status {ended.status}: {printed}"
        return printed


@contextlib.asynccontextmanager
async def arm_rig(
    image: RigImage,
    store: Store,
    directory: Path,
    *,
    machine: str = MACHINE,
    processor: str = "cortex-a57",
    extra: tuple[str, ...] = (),
) -> AsyncIterator[ArmRig]:
    """Boot a rig of ``image``; ``extra`` are further arguments of QEMU's."""
    emulator = qemus.find("auto", ("virtio-serial-pci", "virtio-blk-pci"), store, tell_nobody, arch=ARM64.machine)
    lines = [Line(WORKER, WORKER_PORT), Line("line", f"{LINE_PORT}0")]
    blocks = [
        Device("virtio-blk-pci", {"drive": drive.serial, "serial": drive.serial},
               backends=(("-drive", f"if=none,id={drive.serial},format=raw,readonly=on,file={drive.path}"),))
        for drive in image.drives
    ]  # fmt: skip
    vm = Vm(
        image.boot,
        image.initrd,
        command_line("quiet", arch=ARM64.machine),
        machine=machine,
        memory_mib=1024,
        cpus=2,
        devices=tuple(blocks),
        lines=tuple(lines),
        arch=ARM64.machine,
        extra=("-cpu", processor, *extra),
    )
    spec = RigSpec(
        child=vm_child(RIG, emulator, accelerators.tcg(), vm, directory / "qemu.log"),
        console=SERIAL,
        worker=WORKER,
        lines={f"{LINE_PORT}0": "line"},
        outside={},
        files={},
        python=PYTHON,
        code=CODE_HOME,
    )
    async with contextlib.AsyncExitStack() as stack:
        local = await stack.enter_async_context(open_local_host(deadline=Deadline(), tell=tell_nobody))
        opened = open_rig(spec, local, deadline=Deadline.after(SECONDS), tell=tell_nobody, directory=directory)
        rig = await stack.enter_async_context(opened)
        await rig.host.set_deadline(Deadline())
        yield ArmRig(HostPrograms(rig.host, directory, {}))
        assert rig.kernel_log.splats == []
