# SPDX-License-Identifier: GPL-2.0-or-later
"""The host that owns the device, seen from the controlling side: a connection to a worker."""

from passthru.host.host import Child, ChildSpec, Exit, Host
from passthru.host.local import open_local_host

__all__ = ["Child", "ChildSpec", "Exit", "Host", "open_local_host"]
