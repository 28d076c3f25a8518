# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM or TCG. KVM is taken only where a short guest really ran under it.

A /dev/kvm that opens and answers proves nothing: some machines' KVM (a paravirtual one without VMX or SVM, say) then
kills ordinary guests, or lets them hang. The trial's answer holds until this machine is booted again.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from passthru.errors import Unusable, UserMistake
from passthru.events import Progress
from passthru.qemu import answers
from passthru.qemu.identity import of_this_boot
from passthru.qemu.processor import PROCESSORS, SLOWER, emulated

if TYPE_CHECKING:
    from collections.abc import Callable

    from passthru.events import Tell
    from passthru.image.kernel import Kernel
    from passthru.image.store import Store
    from passthru.qemu.binary import Qemu

CHOICES = ("auto", "kvm", "tcg")
TRIAL_SECONDS = 5.0
_DEVICE = Path("/dev/kvm")

# On a busy machine an emulated guest is not run for a while. If that happens while its kernel measures the TSC, its
# clock runs at a wrong speed ever after, and RCU sees stalls where there are none; if it happens while the kernel tests
# the timer, the kernel takes it for broken and panics. Other clocks and no test then.
_EMULATED_CLOCKS = {"x86_64": ("tsc=unstable", "no_timer_check")}

# How much slower a guest is in a rig than the rig itself. Measured in an emulated one: a guest boots in 4.6 s under its
# KVM, and in 1.7 s with the same kernel where the rig would be.
_NESTED_KVM = 2.5

# Each byte on a nested guest's serial line is several exits through two machines: a boot's 22 kB take 6 s of 10.
# Warnings and worse are printed all the same, and the rest from the first line of /init on; dmesg has everything.
_FEW_WORDS = ("loglevel=5",)

# What TCG emulates with all that KVM needs. For x86-64 that is AMD's SVM with nested paging, in the model `max`. For
# AArch64 it is EL2, in all models: this one has VHE and no pointer authentication, and boots 6.1 and 6.12 in 0.8 and
# 1.0 s where `max` takes 1.3 s and 7.2's `max` 5 s; 6.12's nVHE mode (cortex-a57) takes a third longer for its guest.
_WITH_KVM = {"x86_64": "max", "aarch64": "neoverse-n1"}

# The model qemu64: under the SVM that TCG emulates, newer guest kernels crash early with `host` and `EPYC`, and none
# does with this one.
_NESTED_MODEL = {"x86_64": "qemu64"}

_SAME_ARCH = {"x86_64": {"x86_64", "i386"}, "aarch64": {"aarch64", "arm"}}


@dataclass(frozen=True)
class Accelerator:
    """How the guest's instructions are executed."""

    name: str
    """``kvm`` or ``tcg``."""
    scale: float
    """How much longer deadlines have to be than for KVM."""
    args: tuple[str, ...]
    """QEMU's arguments for it, the processor's model included."""
    reason: str = ""
    """Why it was taken where the user left it open: a clause without a full stop."""
    kernel_words: tuple[str, ...] = ()
    """Kernel parameters that suit it."""


def kvm(reason: str = "") -> Accelerator:
    """The machine's own processor."""
    return Accelerator("kvm", 1.0, ("-accel", "kvm", "-cpu", "host"), reason)


def tcg(reason: str = "", arch: str = "x86_64") -> Accelerator:
    """Emulation. One thread a processor: a guest with two boots in 1.38 s, and in 1.53 s where they share a thread.

    The default processor model for x86-64: `max` has features that cost a Linux guest time (1.57 s instead of 1.48 s).
    For AArch64 that would be one of 32 bits.
    """
    model = ("-cpu", _WITH_KVM[arch]) if arch == "aarch64" else ()
    return Accelerator("tcg", 3.0, ("-accel", "tcg,thread=multi", *model), reason, _EMULATED_CLOCKS.get(arch, ()))


def of_rig(accelerator: Accelerator, arch: str = "x86_64") -> Accelerator:
    """The same for a rig, whose guest is to have KVM: with the processor and the interrupt controllers that it takes.

    The rig has KVM even where this machine has none, since TCG emulates what that needs. An emulated IOMMU of x86
    remaps interrupts in QEMU, which KVM has to leave to it.
    """
    if accelerator.name == "kvm":
        own = "kvm,kernel-irqchip=split" if arch == "x86_64" else "kvm"
        return replace(accelerator, args=("-accel", own, "-cpu", "host"))
    return replace(accelerator, args=("-accel", "tcg,thread=multi", "-cpu", _WITH_KVM[arch]))


def nested(rig: Accelerator, trouble: str = "", arch: str = "x86_64") -> Accelerator:
    """The accelerator of a guest in a rig that runs under ``rig``: the rig's KVM, or TCG for the reason ``trouble``.

    The guest shares the rig's clock troubles.
    """
    if trouble:
        return replace(tcg(trouble, arch), scale=tcg().scale * (SLOWER if rig.name == "tcg" else 1.0))
    words = (*rig.kernel_words, *_FEW_WORDS)
    model = _NESTED_MODEL.get(arch, "host")
    return Accelerator("kvm", rig.scale * _NESTED_KVM, ("-accel", "kvm", "-cpu", model), "the rig's own KVM", words)


def here(accelerator: Accelerator, processors: Path = PROCESSORS) -> Accelerator:
    """The same for a guest of this machine: slower, and with another processor, where this machine is emulated."""
    if not emulated(processors):
        return accelerator
    if accelerator.name == "tcg":
        return replace(accelerator, scale=accelerator.scale * SLOWER)
    return replace(nested(tcg()), reason=accelerator.reason)


def choose(
    wanted: str,
    qemu: Qemu,
    kernel: Kernel,
    floor: Callable[[], Path],
    store: Store,
    tell: Tell,
    *,
    seconds: float = TRIAL_SECONDS,
    device: Path = _DEVICE,
    processors: Path = PROCESSORS,
) -> Accelerator:
    """The accelerator for guests of ``qemu`` with ``kernel``: ``wanted`` is ``auto``, ``kvm`` or ``tcg``.

    ``floor`` gives the initramfs of the trial guest (it prints FIRST-LINE); it is asked for only if there is a trial,
    which takes at most ``seconds``, more where this machine is itself emulated. Blocks: call it in a thread of its own.
    Raises Unusable when KVM is wanted and does not work, UserMistake for another word.
    """
    if wanted not in CHOICES:
        raise UserMistake(f"there is no accelerator {wanted!r}; take one of {', '.join(CHOICES)}")
    if wanted == "tcg":
        return here(tcg(arch=qemu.arch), processors)
    why_not = kvm_trouble(qemu, kernel, floor, store, tell, seconds=seconds, device=device, processors=processors)
    if not why_not:
        return here(kvm("a short guest ran under KVM"), processors)
    if wanted == "kvm":
        raise Unusable(f"KVM is asked for and cannot be used: {why_not}; leave it to passthru with --accel auto")
    return here(tcg(why_not, qemu.arch), processors)


def kvm_trouble(
    qemu: Qemu,
    kernel: Kernel,
    floor: Callable[[], Path],
    store: Store,
    tell: Tell,
    *,
    seconds: float = TRIAL_SECONDS,
    device: Path = _DEVICE,
    processors: Path = PROCESSORS,
) -> str:
    """Why KVM cannot be used, as a clause; empty if it can."""
    trouble = _plain_trouble(qemu, device)
    if trouble:
        return trouble
    remembered = _recall(store, qemu, kernel)
    if remembered is not None:
        return remembered
    from passthru.qemu.trial import first_line_under  # QMP and a worker: not wanted where the answer is known

    work = "trying KVM with a short guest"
    tell(Progress(work))
    try:
        initrd = floor()
    except Unusable as error:  # a cache that was filled where there is no KVM, on a machine without network
        tell(Progress(work, finished=True))
        return f"the short guest that tries it cannot be made: {error}"
    if emulated(processors):
        seconds *= SLOWER * _NESTED_KVM
    trouble = first_line_under(qemu, here(kvm(), processors), kernel.image, initrd, seconds)
    tell(Progress(work, finished=True))
    remember(store, qemu, kernel, trouble)
    return trouble


def remember(store: Store, qemu: Qemu, kernel: Kernel, trouble: str) -> None:
    """Keep for this boot of the machine that KVM works (``trouble`` is empty), or why it does not.

    That it works is known of a QEMU. So is that it does not, where a kernel of a distribution showed it; one of the
    user's own may itself be what does not run. Also for a run whose KVM died under a guest though the trial had passed.
    """
    if trouble:
        answers.forget(store, _about(qemu))
        proven = kernel.source.startswith("debian:")
        answers.keep(store, _about(qemu) if proven else _about(qemu, kernel), {"trouble": trouble})
    else:
        answers.keep(store, _about(qemu), {"trouble": ""})


def _recall(store: Store, qemu: Qemu, kernel: Kernel) -> str | None:
    for about in (_about(qemu, kernel), _about(qemu)):
        answer = answers.recall(store, about)
        if answer is not None:
            return str(answer.get("trouble", ""))
    return None


def _about(qemu: Qemu, kernel: Kernel | None = None) -> dict[str, str]:
    about = {"question": "kvm-works", "boot": of_this_boot(), "qemu": qemu.identity}
    return {**about, "kernel": kernel.identity} if kernel else about


def _plain_trouble(qemu: Qemu, device: Path) -> str:
    """What can be told without a guest."""
    if qemu.arch not in _SAME_ARCH.get(platform.machine(), {platform.machine()}):
        return f"the guest is {qemu.arch} and this machine is {platform.machine()}"
    if "kvm" not in qemu.accelerators:
        return f"{qemu.title} was built without KVM"
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"this machine has no {device}"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return ""
