# SPDX-License-Identifier: GPL-2.0-or-later
"""``make bench``: the promised figures, each beside its floor of the same run, as a table and as JSON.

python -m tests.bench [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from tests.bench import arm, cold_run, conform, dma, rig, round_trips, several, start_up


@dataclass(frozen=True)
class Promise:
    """A figure and its limit: at most, or at least where ``least`` is set."""

    figure: str
    limit: float
    text: str
    least: bool = False

    def kept(self, value: float) -> bool:
        """Whether ``value`` is within the limit."""
        return value >= self.limit if self.least else value <= self.limit


PROMISES = (
    Promise("run_to_floor", 1.8, "mtty, from command to verdict, against a bare boot"),
    Promise("harness_cpu_share", 0.15, "the harness's own processor time, as a share of the run"),
    Promise("help_seconds", 0.3, "passthru --help, seconds"),
    Promise("list_seconds", 0.3, "passthru list, seconds"),
    Promise("two_at_once_throughput", 1.6, "two guests at once, throughput against one after the other", least=True),
    Promise("flakes_in_30_repeats", 0, "of 30 repeats of mtty, two at a time, those that did not pass"),
    Promise("memory_mb_with_8_guests", 80, "the harness's own memory with 8 guests, MB"),
    Promise("mdev_run_to_floor", 8, "mtty-mdev in a rig, from command to verdict, against a bare boot"),
    Promise("arm_host_to_floor", 4, "a device of an arm64 rig, bound, judged on its host, given back"),
    Promise("arm_guest_to_floor", 8, "platform-uart, with a guest in an arm64 rig, against a bare boot"),
    Promise("bind_and_unbind_seconds", 0.2, "bind and unbind of edu in a rig, seconds"),
    Promise("create_and_remove_seconds", 0.2, "create and remove of an mdev in a rig, seconds"),
    Promise("conform_seconds", 2, "the conformance suite on the Python mtty at a socket, seconds"),
    Promise("round_trip_ratio", 0.7, "REGION_READ round trips against a C ping-pong", least=True),
    Promise("round_trip_client_ratio", 0.6, "the same, asked by our own client", least=True),
)


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure what is promised.")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go (bench.json)")
    file: Path = parser.parse_args().json
    figures = start_up.measure() | _named("round_trip", round_trips.measure()) | cold_run.measure()
    figures |= (
        _named("dma_16_mib", dma.measure()) | conform.measure() | rig.measure() | arm.measure() | several.measure()
    )
    file.write_text(json.dumps(figures, indent=2) + "\n")
    for promise in PROMISES:
        value = figures[promise.figure]
        bound = f"{'at least' if promise.least else 'at most'} {promise.limit:g}"
        print(f"{'ok  ' if promise.kept(value) else 'OVER'} {promise.text:<60} {value:6.3f}  ({bound})")
    rest = {name: value for name, value in figures.items() if name not in {promise.figure for promise in PROMISES}}
    print("".join(f"\n     {name:<60} {value:10.3f}" for name, value in rest.items()))
    print(f"\n{file}")


def _named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


if __name__ == "__main__":
    main()
