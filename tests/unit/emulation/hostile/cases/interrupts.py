# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts."""

from __future__ import annotations

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation.hostile.adversary import KINDS, VERSION, Send
from tests.unit.emulation.hostile.cases.building import U32, Cases, after_version, command
from tests.unit.emulation.hostile.corpus_files import Case

NONE, BOOL, EVENTFD = vfio.VFIO_IRQ_SET_DATA_NONE, vfio.VFIO_IRQ_SET_DATA_BOOL, vfio.VFIO_IRQ_SET_DATA_EVENTFD
MASK, UNMASK = vfio.VFIO_IRQ_SET_ACTION_MASK, vfio.VFIO_IRQ_SET_ACTION_UNMASK
TRIGGER = vfio.VFIO_IRQ_SET_ACTION_TRIGGER


def _set_irqs(flags: int, index: int, start: int, count: int, data: bytes = b"", argsz: int = 20) -> bytes:
    return command(user.VFIO_USER_DEVICE_SET_IRQS, vfio.IRQ_SET.pack(argsz, flags, index, start, count) + data)


def interrupts() -> Cases:
    """DEVICE_SET_IRQS."""
    for kind, data in (("none", NONE), ("bool", BOOL), ("eventfd", EVENTFD)):
        for action, name in ((TRIGGER, "trigger"), (MASK, "mask"), (UNMASK, "unmask")):
            yield (
                f"set-irqs-{kind}-{name}-huge-numbers",
                after_version(
                    "count, start, both, index",
                    _set_irqs(data | action, 2, 0, U32),
                    _set_irqs(data | action, 2, U32, 1),
                    _set_irqs(data | action, 2, U32, U32),
                    _set_irqs(data | action, U32, 0, 1),
                    _set_irqs(data | action, 2, 1, U32),
                    expect="EINVAL " * 5,
                ),
            )
    yield (
        "set-irqs-flags",
        after_version(
            "none, all, two kinds of data, unknown ones",
            *(_set_irqs(flags, 2, 0, 1) for flags in (0, 0x3F, NONE | BOOL | TRIGGER, NONE | 0x40, U32)),
            expect="EINVAL " * 5,
        ),
    )
    yield (
        "set-irqs-bools-cut-short",
        after_version("3 for 4", _set_irqs(BOOL | TRIGGER, 2, 0, 4, b"\1\1\1"), expect="EINVAL"),
    )
    for kind in KINDS:
        yield (
            f"set-irqs-a-descriptor-of-kind-{kind}",
            after_version(
                "only an eventfd will do",
                Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 1), (kind,)),
                expect="ok" if kind == "eventfd" else "EINVAL",
            ),
        )
    yield (
        "set-irqs-one-bad-eventfd-of-three",
        after_version(
            "none of them is taken",
            Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 3), ("eventfd", "pipe", "eventfd")),
            _set_irqs(NONE | TRIGGER, 2, 0, 1),
            expect="EINVAL EINVAL",
        ),
    )
    yield (
        "set-irqs-too-many-and-too-few-eventfds",
        after_version(
            "2 for 1, 1 for 2, 16 for 4",
            Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 1), ("eventfd",) * 2),
            Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 2), ("eventfd",)),
            Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 4), ("eventfd",) * 16),
            expect="EINVAL " * 3,
        ),
    )
    yield (
        "set-irqs-the-same-eventfds-a-hundred-times",
        after_version(
            "each time they take the place of the ones before",
            *(Send(_set_irqs(EVENTFD | TRIGGER, 2, 0, 4), ("eventfd",) * 4) for _ in range(100)),
            expect="ok " * 100,
        ),
    )
    yield (
        "set-irqs-of-mtty-huge-numbers",
        Case(
            "it has bounds of its own",
            (
                VERSION,
                Send(_set_irqs(EVENTFD | TRIGGER, 0, 0, U32)),
                Send(_set_irqs(BOOL | TRIGGER, 0, 4, U32)),
                Send(_set_irqs(EVENTFD | TRIGGER, 0, 0, 5), ("eventfd",) * 5),
                Send(_set_irqs(NONE | TRIGGER, 0, 0, 0)),
            ),
            ("ok", "EINVAL", "EINVAL", "EINVAL", "EINVAL"),
            model="mtty",
        ),
    )
