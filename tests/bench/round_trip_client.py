# SPDX-License-Identifier: GPL-2.0-or-later
"""Round trips of REGION_READ by our own client, timed by itself.

python -m tests.bench.round_trip_client CPU COUNT PATH
"""

from __future__ import annotations

import os
import sys
import time

from passthru.vfio.user.target import UserTarget

SCRATCH_REGISTER = 7


def main(cpu: str, count: str, path: str) -> None:
    """Print round trips per second, one CPU for this process too."""
    os.sched_setaffinity(0, {int(cpu)})
    opened = UserTarget(path).open()
    read = opened.device.read
    for _ in range(int(count) // 10 + 1):
        read(0, SCRATCH_REGISTER, 1)
    begin = time.perf_counter()
    for _ in range(int(count)):
        read(0, SCRATCH_REGISTER, 1)
    print(round(int(count) / (time.perf_counter() - begin)))
    opened.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
