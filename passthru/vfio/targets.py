# SPDX-License-Identifier: GPL-2.0-or-later
"""Which target is meant: JSON in, the transport's own target out. Each transport is imported only where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from passthru.vfio.device import Target


def target_of(described: Mapping[str, object]) -> Target:
    """The target that JSON describes; ``transport`` says whose it is. Raises ValueError with a sentence.

    ``{"transport": "vfio-user", "socket": PATH}``, or ``{"transport": "kernel", "name": "0000:00:05.0", "group":
    "/dev/vfio/3", "cdev": "/dev/vfio/devices/vfio0", "container": "type1"}``, which needs ``cdev`` for the container
    ``iommufd``, and ``group`` for ``type1``, ``type1v2`` and ``noiommu``.
    """
    transport = described.get("transport")
    if transport == "kernel":
        from passthru.vfio.kernel.target import kernel_target

        return kernel_target(described)
    if transport == "vfio-user":
        from passthru.vfio.user.target import UserTarget

        path = described.get("socket")
        if not isinstance(path, str) or not path:
            raise ValueError(f"a device server is told by the path of its socket, not by {path!r}")
        return UserTarget(path)
    raise ValueError(f"a target's transport is kernel or vfio-user, not {transport!r}")
