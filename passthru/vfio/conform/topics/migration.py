# SPDX-License-Identifier: GPL-2.0-or-later
"""The states of migration, where a device offers them: <linux/vfio.h>, enum vfio_device_mig_state."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, cast

from passthru.vfio import linux_vfio_features as features
from passthru.vfio.conform.registry import test
from passthru.vfio.linux_vfio_features import (
    FEATURE_MIGRATION,
    MIG_STATE,
    VFIO_DEVICE_FEATURE_GET,
    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
    VFIO_DEVICE_FEATURE_MIGRATION,
    VFIO_DEVICE_FEATURE_SET,
    VFIO_DEVICE_STATE_ERROR,
    VFIO_DEVICE_STATE_NR,
    VFIO_DEVICE_STATE_RESUMING,
    VFIO_DEVICE_STATE_RUNNING,
    VFIO_DEVICE_STATE_STOP,
    VFIO_DEVICE_STATE_STOP_COPY,
)

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case
    from passthru.vfio.user.device import UserDevice

_MIGRATION = "VFIO_DEVICE_FEATURE_MIGRATION in <linux/vfio.h>"
_STATES = "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE and enum vfio_device_mig_state in <linux/vfio.h>"
_KNOWN = features.VFIO_MIGRATION_STOP_COPY | features.VFIO_MIGRATION_P2P | features.VFIO_MIGRATION_PRE_COPY
_MOST = 1 << 30  # bytes of a state; beyond that a device is taken not to end
_CHUNK = 1 << 16


@test("migration", cites=_MIGRATION)
def migration_flags_are_a_defined_combination(case: Case) -> None:
    """The flags have STOP_COPY, and beside it P2P and PRE_COPY at most."""
    data = case.device.feature(VFIO_DEVICE_FEATURE_MIGRATION | VFIO_DEVICE_FEATURE_GET, bytes(FEATURE_MIGRATION.size))
    (flags,) = FEATURE_MIGRATION.unpack(data)
    case.expect(flags & features.VFIO_MIGRATION_STOP_COPY and not flags & ~_KNOWN, f"the flags are {flags:#x}")


@test("migration", cites=_STATES + ": RUNNING is the default state")
def a_device_begins_in_running(case: Case) -> None:
    """An opened device is RUNNING."""
    _is(case, VFIO_DEVICE_STATE_RUNNING)


@test("migration", cites=_STATES)
def a_device_stops_and_runs(case: Case) -> None:
    """STOP and RUNNING are reached from each other, again and again, and are what is read then."""
    for state in (VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING) * 2:
        _go(case, state)
        _is(case, state)


@test("migration", cites=_STATES)
def the_state_it_is_in_can_be_set(case: Case) -> None:
    """Setting the state that the device is in succeeds and changes nothing."""
    _go(case, VFIO_DEVICE_STATE_RUNNING)
    _is(case, VFIO_DEVICE_STATE_RUNNING)


@test("migration", cites=_STATES + ": ERROR cannot be set by the user")
def impossible_states_are_refused(case: Case) -> None:
    """ERROR and states that are not defined are EINVAL, and the device stays in its state."""
    for state in (VFIO_DEVICE_STATE_ERROR, VFIO_DEVICE_STATE_NR, 99, 0xFFFFFFFF):
        with case.refused(errno.EINVAL, what=f"setting the state {state}"):
            _go(case, state)
        _is(case, VFIO_DEVICE_STATE_RUNNING)


@test("migration", cites=_STATES + ": STOP_COPY, the device's internal state is read from data_fd")
def a_stopped_state_is_saved_to_its_end(case: Case) -> None:
    """In STOP_COPY the device gives its state, which ends; then it runs again."""
    data = _saved(case)
    case.expect(data, "the state was empty")
    _go(case, VFIO_DEVICE_STATE_RUNNING)
    _is(case, VFIO_DEVICE_STATE_RUNNING)


@test("migration", cites=_STATES + ": RESUMING, the state is written to data_fd")
def a_saved_state_is_resumed(case: Case) -> None:
    """The device takes its own saved state in RESUMING, and runs; saved anew it is as long as before."""
    before = _saved(case)
    descriptor = _go(case, VFIO_DEVICE_STATE_RESUMING)
    _write(case, descriptor, before)
    _go(case, VFIO_DEVICE_STATE_RUNNING)
    _is(case, VFIO_DEVICE_STATE_RUNNING)
    after = _saved(case)
    case.expect(len(after) == len(before), f"{len(before)} bytes of state were resumed, {len(after)} saved then")
    _go(case, VFIO_DEVICE_STATE_RUNNING)


@test("migration", "reset", cites=_STATES + ": VFIO_DEVICE_RESET brings any state to RUNNING")
def a_reset_makes_it_run(case: Case) -> None:
    """A reset device is RUNNING, whatever state it was in."""
    _go(case, VFIO_DEVICE_STATE_STOP)
    case.reset()
    _is(case, VFIO_DEVICE_STATE_RUNNING)


def _go(case: Case, state: int) -> int:
    """Set a state; returns the descriptor of its data, which is given back at the end, -1 for none."""
    flags = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET
    _, descriptor = MIG_STATE.unpack(case.device.feature(flags, MIG_STATE.pack(state, -1)))
    if case.facts.transport == "kernel" and descriptor >= 0:
        case.keep(lambda: os.close(descriptor))
        return int(descriptor)
    return -1


def _is(case: Case, wanted: int) -> None:
    flags = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_GET
    state, _ = MIG_STATE.unpack(case.device.feature(flags, bytes(MIG_STATE.size)))
    case.expect(state == wanted, f"the state is {state}, not {wanted}")


def _saved(case: Case) -> bytes:
    """The device's state; it is in STOP afterwards."""
    descriptor = _go(case, VFIO_DEVICE_STATE_STOP_COPY)
    data = bytearray()
    while len(data) <= _MOST:
        part = _read(case, descriptor)
        if not part:
            break
        data += part
    case.expect(len(data) <= _MOST, f"the state does not end: {len(data)} bytes so far")
    _go(case, VFIO_DEVICE_STATE_STOP)
    return bytes(data)


def _read(case: Case, descriptor: int) -> bytes:
    if case.facts.transport == "kernel":
        case.expect(descriptor >= 0, f"STOP_COPY gave the data descriptor {descriptor}")
        return os.read(descriptor, _CHUNK)
    from passthru.vfio.user.migration import read_state

    return read_state(cast("UserDevice", case.device), _CHUNK)


def _write(case: Case, descriptor: int, data: bytes) -> None:
    if case.facts.transport != "kernel":
        from passthru.vfio.user.migration import write_state

        write_state(cast("UserDevice", case.device), data)
        return
    case.expect(descriptor >= 0, f"RESUMING gave the data descriptor {descriptor}")
    while data:
        data = data[os.write(descriptor, data) :]
