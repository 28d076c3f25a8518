# SPDX-License-Identifier: GPL-2.0-or-later
"""``rtc``: a clock that the guest was given shows the time of this machine, goes on, and interrupts at its alarm.

The guest's own driver is asked, by sysfs (Documentation/ABI/testing/sysfs-class-rtc): a clock counts seconds since
1970-01-01 00:00 UTC.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from passthru.check.finding import Finding, Verdict, judged
from passthru.check.options import DeviceCheckOptions
from passthru.errors import PassthruError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from passthru.check.context import Context

_NO_DRIVER, _NO_ALARM = 3, 4  # exit statuses of the script
_MOST_INTERRUPTS = 10
"""One would do. VFIO lets the line through anew when the guest has ended its handling, which may be before the clock's
own acknowledgement is seen; more than these are a storm."""


class Options(DeviceCheckOptions):
    """A check with ``use = "rtc"``."""

    use: Literal["rtc"]
    tolerance: int = Field(default=2, ge=1, le=3600)
    """Seconds by which the clock may differ from this machine's."""
    seconds: int = Field(default=2, ge=1, le=30)
    """How far it is watched going, and how far ahead the alarm is."""
    alarm: bool = True
    """Whether its alarm is judged."""


@dataclass(frozen=True)
class _Said:
    """What the guest saw: the clock's seconds at three moments, and its own uptime's hundredths of a second."""

    name: str
    first: int
    last: int
    passed: int
    """Hundredths of a second of the guest between the first two."""
    interrupts: int = 0
    rang_at: int = 0
    """The clock when the alarm was over; 0 where it never was."""


async def judge(context: Context, options: Options) -> Finding:
    """Read the clock, watch it, set its alarm, and compare with the time here."""
    device = context.the_device
    before = int(time.time())
    completed = await context.run(_script(device.address, options), needs=["readlink", "sleep"])
    after = int(time.time()) + 1
    said = completed.stderr.decode(errors="replace").strip()
    if completed.status == _NO_DRIVER:
        return Finding(Verdict.FAILED, f"the guest's kernel made no clock of the device at {device.address}")
    if completed.status == _NO_ALARM:
        return Finding(Verdict.FAILED, f"the clock at {device.address} takes no alarm: {said or 'it has none'}")
    if completed.status != 0:
        return Finding(Verdict.FAILED, f"the guest could not read the clock at {device.address}: {said}")
    clock = _parse(completed.stdout.decode(errors="replace"))
    return judged(
        list(_complaints(clock, before, after, options)),
        passed=f"{clock.name} shows this machine's time and goes on"
        + (
            f"; its alarm came with {clock.interrupts} interrupt{'s' * (clock.interrupts != 1)}"
            if options.alarm
            else ""
        ),
        failed=f"{clock.name} is no clock to go by",
        facts={"rtc": clock.name, "first": clock.first, "last": clock.last, "interrupts": clock.interrupts},
    )


def _complaints(clock: _Said, before: int, after: int, options: Options) -> Iterator[str]:
    early, late = before - options.tolerance, after + options.tolerance
    for moment in (clock.first, clock.last):
        if not early <= moment <= late:
            yield f"expected {early} to {late} seconds since 1970, as here, the guest read {moment}"
            break
    went = clock.last - clock.first
    if went < options.seconds:
        yield f"it went {went} of {options.seconds} s in {clock.passed / 100:.1f} s of the guest"
    elif abs(went - clock.passed / 100) > options.tolerance:
        yield f"it went {went} s in {clock.passed / 100:.1f} s of the guest"
    if not options.alarm:
        return
    due = clock.last + options.seconds
    if not clock.rang_at:
        yield f"its alarm, {options.seconds} s ahead, never came"
    elif not due <= clock.rang_at <= due + options.tolerance + 1:
        yield f"its alarm for {due} came at {clock.rang_at}"
    if clock.rang_at and not 1 <= clock.interrupts <= _MOST_INTERRUPTS:
        yield f"expected 1 interrupt for its alarm, and {_MOST_INTERRUPTS} at most, got {clock.interrupts}"


def _parse(text: str) -> _Said:
    words = text.split()
    try:
        name, *numbers = words
        first, last, passed, interrupts, rang_at = map(int, numbers)
    except ValueError as error:
        raise PassthruError(f"the guest's look at a clock printed {text!r}, which makes no sense") from error
    return _Said(name, first, last, passed, interrupts, rang_at)


def _script(address: str, options: Options) -> str:
    """Prints the clock's name, its seconds twice, the guest's hundredths between, interrupts and the alarm's end.

    Each wait ends after ten times the seconds that are to pass, by the guest's own clock.
    """
    limit = options.seconds * 1000
    alarm = f"""
count() {{
  total=0
  while read -r line; do
    case $line in *" $driver") ;; *) continue ;; esac
    for word in $line; do case $word in *:) ;; *[!0-9]*) break ;; *) total=$((total + word)) ;; esac; done
  done </proc/interrupts
}}
count; before=$total
[ -e "$clock/wakealarm" ] || exit {_NO_ALARM}
echo 0 >"$clock/wakealarm"
echo $((last + {options.seconds})) >"$clock/wakealarm" || exit {_NO_ALARM}
uptime; end=$((now + {limit})); rang=0
while [ $now -lt $end ]; do
  read -r due <"$clock/wakealarm" || {{ read -r rang <"$clock/since_epoch"; break; }}
  sleep 0.05; uptime
done
count; interrupts=$((total - before))
"""
    return f"""\
for clock in /sys/bus/*/devices/{address}/rtc/rtc*; do break; done
[ -e "$clock" ] || exit {_NO_DRIVER}
driver=$(readlink "$clock/device/driver"); driver=${{driver##*/}}
uptime() {{ read -r now rest </proc/uptime; now=${{now%.*}}${{now#*.}}; }}
read -r first <"$clock/since_epoch" || exit
uptime; began=$now; end=$((began + {limit})); last=$first; interrupts=0; rang=0
while [ $((last - first)) -lt {options.seconds} ] && [ $now -lt $end ]; do
  sleep 0.05; read -r last <"$clock/since_epoch" || exit; uptime
done
passed=$((now - began))
{alarm if options.alarm else ""}
echo "${{clock##*/}} $first $last $passed $interrupts $rang"
"""
