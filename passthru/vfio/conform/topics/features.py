# SPDX-License-Identifier: GPL-2.0-or-later
"""VFIO_DEVICE_FEATURE: probing, getting, setting, and what nobody knows."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio_features as features
from passthru.vfio.conform.capabilities import LOST
from passthru.vfio.conform.registry import test
from passthru.vfio.device import Call
from passthru.vfio.linux_vfio_features import DEVICE_FEATURE
from passthru.vfio.linux_vfio_features import VFIO_DEVICE_FEATURE_GET as GET
from passthru.vfio.linux_vfio_features import VFIO_DEVICE_FEATURE_PROBE as PROBE
from passthru.vfio.linux_vfio_features import VFIO_DEVICE_FEATURE_SET as SET

if TYPE_CHECKING:
    from passthru.vfio.conform.case import Case

_FEATURE = "VFIO_DEVICE_FEATURE in <linux/vfio.h>"
_PROBE = _FEATURE + ": probing returns success if the feature and all of the indicated GET/SET methods are supported"
_EXCLUSIVE = _FEATURE + ": GET and SET are mutually exclusive, except for use with PROBE"
_UNKNOWN = (0x1000, 0xFFFF)
_REFUSALS = (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)
_ROOM = 64  # bytes, more than any feature's fixed data
_READ_FREELY = (
    features.VFIO_DEVICE_FEATURE_MIGRATION,
    features.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
)


@test(cites=_FEATURE)
def unknown_features_are_refused(case: Case) -> None:
    """A feature that nobody has defined is ENOTTY, or EINVAL of devices without any, by probe, get and set."""
    for number in _UNKNOWN:
        for flags in (PROBE, PROBE | GET, PROBE | SET, GET, SET):
            with case.refused(*_REFUSALS, what=f"feature {number:#x} with flags {flags:#x}"):
                case.device.feature(number | flags, bytes(_ROOM))


@test(cites=_FEATURE + "; vfio_ioctl_device_feature in drivers/vfio/vfio_main.c")
def unknown_feature_flags_are_refused(case: Case) -> None:
    """Flags beyond GET, SET and PROBE are EINVAL."""
    for number in range(len(features.FEATURE_NAMES)):
        for bit in (1 << 19, 1 << 31):
            with case.refused(*_REFUSALS, what=f"feature {number} with flags {PROBE | GET | bit:#x}"):
                case.device.feature(number | PROBE | GET | bit, bytes(_ROOM))


@test(cites=_EXCLUSIVE)
def get_and_set_at_once_are_refused(case: Case) -> None:
    """GET and SET in one call are EINVAL."""
    for number in range(len(features.FEATURE_NAMES)):
        with case.refused(*_REFUSALS, what=f"getting and setting feature {number} at once"):
            case.device.feature(number | GET | SET, bytes(_ROOM))


@test(cites=_PROBE)
def probing_both_ways_needs_both(case: Case) -> None:
    """A probe for GET and SET succeeds where those for GET and for SET do, and one for neither where any does."""
    for number in range(len(features.FEATURE_NAMES)):
        get, put = _offers(case, number | PROBE | GET), _offers(case, number | PROBE | SET)
        both, bare = _offers(case, number | PROBE | GET | SET), _offers(case, number | PROBE)
        name = features.FEATURE_NAMES[number]
        case.expect(both == (get and put), f"{name}: GET {get}, SET {put}, both {both}")
        case.expect(bare or not (get or put), f"{name}: GET {get}, SET {put}, and the feature itself {bare}")


@test(cites=_FEATURE)
def features_are_offered_by_get_or_set(case: Case) -> None:
    """A call of an offered feature without GET, SET and PROBE is EINVAL."""
    for number in _offered(case):
        with case.refused(errno.EINVAL, what=f"{features.FEATURE_NAMES[number]} without GET, SET and PROBE"):
            case.device.feature(number, bytes(_ROOM))


@test(cites=_FEATURE + "; vfio_check_feature in include/linux/vfio.h")
def features_need_room_for_their_data(case: Case) -> None:
    """An argsz without room for an offered feature's data is EINVAL."""
    for number in _offered(case):
        if not _offers(case, number | PROBE | GET):
            continue
        for argsz in (0, 4, DEVICE_FEATURE.size):
            with case.refused(errno.EINVAL, what=f"getting {features.FEATURE_NAMES[number]} with argsz {argsz}"):
                case.device.call(Call.FEATURE, DEVICE_FEATURE.pack(argsz, number | GET))


@test(cites=_PROBE)
def what_probes_for_get_can_be_got(case: Case) -> None:
    """Of the features that can be read without more ado, those that probe for GET are got."""
    tried = False
    for number in _READ_FREELY:
        if _offers(case, number | PROBE | GET):
            tried = True
            data = case.device.feature(number | GET, bytes(8))
            case.expect(len(data) == 8, f"{features.FEATURE_NAMES[number]} gave {len(data)} of 8 bytes")
    if not tried:
        case.missing("no feature is offered that can be read")


def _offers(case: Case, flags: int) -> bool:
    try:
        case.device.feature(flags, b"")
    except LOST:
        raise
    except OSError as error:
        case.expect(error.errno in _REFUSALS, f"a probe with flags {flags:#x} met {error}")
        return False
    return True


def _offered(case: Case) -> list[int]:
    offered = [number for number in range(len(features.FEATURE_NAMES)) if _offers(case, number | PROBE)]
    return offered or case.missing("the device offers no feature")
