# SPDX-License-Identifier: GPL-2.0-or-later
"""The Management Complex: sessions, containers, what they may do, and how they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from passthru.emulation.models.management_complex import ManagementComplex
from passthru.emulation.models.management_complex.status import Status
from passthru.errors import UserMistake
from tests.unit.emulation.shared_ram.mc_driver import (
    ASSIGN,
    ATTRIBUTES,
    CHILD,
    CLOSE,
    CONTAINER_ID,
    COUNT,
    CREATE_CONTAINER,
    CREATE_DPBP,
    CREATE_DPMCP,
    DESTROY_CONTAINER,
    DESTROY_DPBP,
    DESTROY_DPMCP,
    DISABLE,
    DPRC_VERSION,
    ENABLE,
    EXPLICIT,
    GET,
    IS_ENABLED,
    OPEN_DPBP,
    OPEN_DPIO,
    OPEN_DPMCP,
    OPEN_DPRC,
    REGION,
    RESET,
    ROOT,
    UNASSIGN,
    VERSION,
    Software,
    request,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def software(nothing_stays_open: None) -> Iterator[Software]:
    """Of the default objects."""
    made = Software()
    yield made
    made.model.close()


@pytest.fixture
def root(software: Software) -> int:
    """A token for dprc.1 at its own portal."""
    return software.open(ROOT, OPEN_DPRC, 1)


def test_what_linux_asks_first(software: Software) -> None:
    version = software.ok(ROOT, VERSION)
    assert (version.word(4), version.word(8)) == (10, 37)
    assert software.ok(ROOT, CONTAINER_ID).word(0) == 1
    assert software.ok(CHILD, CONTAINER_ID).word(0) == 2
    assert software.ok(ROOT, DPRC_VERSION).half(0) == 6
    assert software.model.regions[2].read(8, 4) == words(1)
    assert not software.model.look()


def test_containers_and_what_is_in_them(software: Software, root: int) -> None:
    assert software.objects(ROOT, root) == {"dprc.2": 0, "dpmcp.1": 2}
    token = software.open(CHILD, OPEN_DPRC, 2)
    assert software.objects(CHILD, token) == {"dpni.0": 2, "dpbp.1": 2, "dpmcp.2": 2, "dpio.0": 2, "dpcon.0": 2}
    attributes = software.ok(CHILD, ATTRIBUTES, token)
    assert [attributes.word(at) for at in (0, 4, 8, 12)] == [2, 0x18, 0x40, CHILD]
    answer = software.ok(ROOT, GET, root, words(0))
    assert (answer.half(8), answer.parameters[10:12], answer.half(16)) == (0x1957, b"\1\1", 6)


def test_options(nothing_stays_open: None) -> None:
    software = Software(root="", child="dpbp.7", plugged=True, icid=5)
    token = software.open(ROOT, OPEN_DPRC, 1)
    assert software.objects(ROOT, token) == {"dprc.2": 2}
    assert software.ok(ROOT, ATTRIBUTES, software.open(ROOT, OPEN_DPRC, 2)).word(4) == 6
    software.model.close()


@pytest.mark.parametrize(
    ("child", "sentence"),
    [
        ("dpfoo.1", r"'dpfoo.1' is no object .*; there are dpni.N, dpio.N"),
        ("dprc.3", r"'dprc.3' is no object"),
        ("dpbp", r"'dpbp' is no object"),
        ("dpbp.1 dpbp.1", r"an object is there twice, or there are too many"),
        (" ".join(f"dpio.{number}" for number in range(65)), r"there are too many"),
    ],
)
def test_options_that_are_wrong(child: str, sentence: str) -> None:
    with pytest.raises(UserMistake, match=sentence):
        ManagementComplex(ManagementComplex.Options(child=child))


def test_regions(software: Software) -> None:
    token = software.open(CHILD, OPEN_DPRC, 2)
    dpio = software.ok(CHILD, REGION, token, words(0, 1 << 16) + bytes(16) + b"dpio")
    assert (dpio.long(8), dpio.word(16), dpio.parameters[20], dpio.word(24)) == (0x10000, 0x10000, 1, 0)
    dpmcp = software.ok(CHILD, REGION, token, words(2, 0) + bytes(16) + b"dpmcp")
    assert (dpmcp.long(8) % 0x10000, dpmcp.word(16), dpmcp.parameters[20]) == (0, 64, 0)
    assert software.send(CHILD, REGION, token, words(2, 1 << 16) + bytes(16) + b"dpmcp").status is Status.CONFIG_ERROR
    assert software.send(CHILD, REGION, token, words(9, 0) + bytes(16) + b"dpmcp").status is Status.CONFIG_ERROR
    assert software.ok(dpmcp.long(8) // 0x10000, CONTAINER_ID).word(0) == 2


def test_sessions_belong_to_their_portal(software: Software, root: int) -> None:
    assert software.send(CHILD, COUNT, root).status is Status.AUTHENTICATION_ERROR
    software.ok(ROOT, CLOSE, root)
    assert software.send(ROOT, COUNT, root).status is Status.AUTHENTICATION_ERROR
    assert software.send(ROOT, CLOSE, root).status is Status.AUTHENTICATION_ERROR


def test_a_container_sees_itself_and_what_is_below(software: Software) -> None:
    software.open(ROOT, OPEN_DPBP, 1)
    assert software.send(CHILD, OPEN_DPRC, 0, words(1)).status is Status.CONFIG_ERROR
    assert software.send(CHILD, OPEN_DPMCP, 0, words(1)).status is Status.CONFIG_ERROR
    assert software.send(ROOT, OPEN_DPBP, 0, words(99)).status is Status.CONFIG_ERROR


def test_sessions_are_not_without_end(software: Software) -> None:
    answers = [software.send(ROOT, OPEN_DPBP, 0, words(1)).status for _ in range(300)]
    assert answers[0] is Status.OK and answers[-1] is Status.NO_RESOURCE


@pytest.mark.parametrize("code", [0x3FF, 0x00F, 0x83F, 0x93F])
def test_what_nobody_knows(software: Software, root: int, code: int) -> None:
    assert software.send(ROOT, code, root).status is Status.UNSUPPORTED


def test_what_only_containers_know(software: Software) -> None:
    token = software.open(CHILD, OPEN_DPBP, 1)
    assert software.send(CHILD, COUNT, token).status is Status.UNSUPPORTED


def test_enabling(software: Software) -> None:
    token = software.open(CHILD, OPEN_DPBP, 1)
    seen = []
    for code in (ENABLE, DISABLE, ENABLE, RESET):
        software.ok(CHILD, code, token)
        seen.append(software.ok(CHILD, IS_ENABLED, token).parameters[0])
    assert seen == [1, 0, 1, 0]


def test_an_object_is_made_and_assigned_and_taken_back(software: Software, root: int) -> None:
    child = software.open(CHILD, OPEN_DPRC, 2)
    number = software.ok(ROOT, CREATE_DPBP, root).word(0)
    name = f"dpbp.{number}"
    assert software.objects(ROOT, root)[name] == 2
    software.ok(ROOT, ASSIGN, root, request(2, "dpbp", number))
    assert name not in software.objects(ROOT, root)
    assert software.objects(CHILD, child)[name] == 2
    software.ok(ROOT, UNASSIGN, root, request(2, "dpbp", number, EXPLICIT))
    assert software.objects(ROOT, root)[name] == 0
    software.ok(ROOT, DESTROY_DPBP, root, words(number))
    assert name not in software.objects(ROOT, root)
    assert software.send(ROOT, DESTROY_DPBP, root, words(number)).status is Status.CONFIG_ERROR


def test_a_container_is_plugged_in_place(software: Software, root: int) -> None:
    software.ok(ROOT, ASSIGN, root, request(1, "dprc", 2))
    assert software.objects(ROOT, root)["dprc.2"] & 2
    assert software.send(ROOT, ASSIGN, root, request(2, "dprc", 2)).status is Status.UNSUPPORTED


def test_whoever_has_the_child_cannot_change_what_is_in_it(software: Software) -> None:
    """The seed: the restriction is set by the host and enforced by the mc hardware."""
    token = software.open(CHILD, OPEN_DPRC, 2)
    for code, parameters in [
        (CREATE_DPBP, b""),
        (DESTROY_DPBP, words(1)),
        (ASSIGN, request(2, "dpbp", 1, EXPLICIT)),
        (CREATE_CONTAINER, words(0xFF, 0xFFFFFFFF)),
        (DESTROY_CONTAINER, words(2)),
    ]:
        assert software.send(CHILD, code, token, parameters).status is Status.NO_PRIVILEGE
    assert len(software.objects(CHILD, token)) == 5


def test_what_is_in_use_stays(software: Software, root: int) -> None:
    token = software.open(CHILD, OPEN_DPBP, 1)
    assert software.send(ROOT, UNASSIGN, root, request(2, "dpbp", 1, EXPLICIT)).status is Status.BUSY
    software.ok(CHILD, CLOSE, token)
    software.ok(ROOT, UNASSIGN, root, request(2, "dpbp", 1, EXPLICIT))


def test_requests_for_what_is_no_object(software: Software, root: int) -> None:
    assert software.send(ROOT, ASSIGN, root, request(2, "mcp", 1)).status is Status.UNSUPPORTED
    assert software.send(ROOT, ASSIGN, root, request(2, "dpbp", 1, 0)).status is Status.UNSUPPORTED
    assert software.send(ROOT, ASSIGN, root, request(2, "dpbp", 99)).status is Status.CONFIG_ERROR
    assert software.send(ROOT, ASSIGN, root, request(9, "dpbp", 99)).status is Status.CONFIG_ERROR


def test_containers_come_and_go(software: Software, root: int) -> None:
    made = software.ok(ROOT, CREATE_CONTAINER, root, words(0x4F, 0xFFFFFFFF, 0, 0xFFFFFFFF) + b"mine")
    number, portal = made.word(8), made.long(16) // 0x10000
    token = software.open(portal, OPEN_DPRC, number)
    assert software.ok(portal, ATTRIBUTES, token).word(4) == 0x19
    inner = software.ok(portal, CREATE_DPBP, token).word(0)
    software.ok(portal, CLOSE, token)
    software.ok(ROOT, DESTROY_CONTAINER, root, words(number))
    assert f"dpbp.{inner}" in software.objects(ROOT, root)
    assert all(not name.startswith("dprc.3") for name in software.objects(ROOT, root))


def test_icids_end(software: Software, root: int) -> None:
    options = words(0x4F, 0xFFFFFFFF)
    answers = [software.send(ROOT, CREATE_CONTAINER, root, options).status for _ in range(15)]
    assert answers == [Status.OK] * 14 + [Status.NO_RESOURCE]


def test_a_portal_that_goes_ends_its_sessions(software: Software, root: int) -> None:
    number = software.ok(ROOT, CREATE_DPMCP, root).word(0)
    place = list(software.objects(ROOT, root)).index(f"dpmcp.{number}")
    assert software.ok(ROOT, GET, root, words(place)).word(4) == number
    region = software.ok(ROOT, REGION, root, words(number, 0) + bytes(16) + b"dpmcp")
    software.open(region.long(8) // 0x10000, OPEN_DPBP, 1)
    software.ok(ROOT, DESTROY_DPMCP, root, words(number))
    software.ok(ROOT, UNASSIGN, root, request(2, "dpbp", 1, EXPLICIT))


def test_a_reset_of_a_container_closes_its_objects(software: Software) -> None:
    container, dpio = software.open(CHILD, OPEN_DPRC, 2), software.open(CHILD, OPEN_DPIO, 0)
    software.ok(CHILD, ENABLE, dpio)
    software.ok(CHILD, RESET, container, words(2, 1))
    assert software.send(CHILD, IS_ENABLED, dpio).status is Status.AUTHENTICATION_ERROR
    assert not software.ok(CHILD, IS_ENABLED, software.open(CHILD, OPEN_DPIO, 0)).parameters[0]
    assert len(software.objects(CHILD, container)) == 5
