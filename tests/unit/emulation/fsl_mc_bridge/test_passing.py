# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest hears from the Management Complex, and what the Management Complex hears from it."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from passthru.emulation.fsl_mc_bridge.bridge import MOST_SENTENCES
from passthru.emulation.fsl_mc_bridge.places import PORTAL_STRIDE, PORTALS, QUEUE_STRIDE, QUEUES, Places
from passthru.emulation.mc_status import Status
from tests.unit.emulation.fsl_mc_bridge.made_host import MadeDevice, MadeGuest, MadeHost, message, region
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
    DESTROY_DPBP,
    DPRC_VERSION,
    GET,
    GET_IRQ,
    OPEN_DPBP,
    OPEN_DPIO,
    OPEN_DPRC,
    REGION,
    ROOT,
    SET_IRQ,
    SET_OBJECT_IRQ,
    UNASSIGN,
    VERSION,
    request,
    words,
)

GET_OBJECT_IRQ = 0x160
TRANSLATER = 0x8090040


def opened(guest: MadeGuest) -> int:
    """A session with the container, as the guest's kernel has one."""
    return guest.ok(OPEN_DPRC, 0, words(2)).token


def names(guest: MadeGuest, token: int) -> list[str]:
    """The objects that the guest finds."""
    answers = [guest.ok(GET, token, words(place)) for place in range(guest.ok(COUNT, token).word(4))]
    return [f"{answer.parameters[24:40].rstrip(bytes(1)).decode()}.{answer.word(4)}" for answer in answers]


def add(host: MadeHost, create: int, kind: str) -> str:
    """The host creates an object and assigns it to dprc.2."""
    token = host.software.open(ROOT, OPEN_DPRC, 1)
    number = host.software.ok(ROOT, create, token).word(0)
    host.software.ok(ROOT, ASSIGN, token, request(2, kind, number))
    return f"{kind}.{number}"


def test_the_container_is_the_guests_root(guest: MadeGuest) -> None:
    assert guest.ok(VERSION).word(4) == 10
    assert guest.ok(CONTAINER_ID).word(0) == 2
    assert guest.ok(DPRC_VERSION).half(0) == 6
    assert names(guest, opened(guest)) == ["dpni.0", "dpbp.1", "dpmcp.2", "dpio.0", "dpcon.0"]


def test_the_guest_knows_itself_by_icid_0(guest: MadeGuest, host: MadeHost) -> None:
    host_sees = host.software.ok(CHILD, ATTRIBUTES, host.software.open(CHILD, OPEN_DPRC, 2))
    assert (host_sees.word(4), host_sees.word(12)) == (0x18, 1)
    answer = guest.ok(ATTRIBUTES, opened(guest))
    assert [answer.word(offset) for offset in (0, 4, 12)] == [2, 0, 0]
    assert answer.word(8) == host_sees.word(8)


def test_attributes_of_other_objects_pass(guest: MadeGuest) -> None:
    token = guest.ok(OPEN_DPIO, 0, words(0)).token
    answer = guest.ok(ATTRIBUTES, token)
    assert answer.parameters[6:8] == bytes([8, 1])


def test_regions_are_in_the_guests_windows(guest: MadeGuest) -> None:
    token = opened(guest)
    portal = guest.ok(REGION, token, region("dpmcp", 2))
    assert (portal.long(8), portal.word(16), portal.parameters[20], portal.long(32)) == (PORTAL_STRIDE, 64, 0, 0)
    for index in range(2):
        queue = guest.ok(REGION, token, region("dpio", 0, index))
        assert (queue.long(8), queue.word(16), queue.parameters[20]) == (index * QUEUE_STRIDE, QUEUE_STRIDE, 1)
    assert guest.send(REGION, token, region("dpio", 0, 2)).status is Status.CONFIG_ERROR
    assert guest.ok(REGION, token, region("dpmcp", 2)).long(8) == PORTAL_STRIDE


def test_portals_of_dpmcps_are_served_when_the_guest_knows_of_them(guest: MadeGuest) -> None:
    token = opened(guest)
    at = PORTAL_STRIDE
    guest.portals.put_long(at, Status.READY << 16 | (VERSION << 4 | 1) << 48)
    assert not guest.bridge.look()
    guest.ok(REGION, token, region("dpmcp", 2))
    assert guest.bridge.look()
    assert guest.ok(COUNT, token, portal=at).word(4) == 5


def test_sessions_are_the_guests_own(guest: MadeGuest, host: MadeHost) -> None:
    """The host's kernel has one by the same portal; it needs it to reset the container."""
    hosts = host.software.open(CHILD, OPEN_DPRC, 2)
    assert guest.send(COUNT, hosts).status is Status.AUTHENTICATION_ERROR
    assert guest.send(CLOSE, hosts).status is Status.AUTHENTICATION_ERROR
    assert guest.send(COUNT).status is Status.AUTHENTICATION_ERROR
    assert host.software.ok(CHILD, COUNT, hosts).word(4) == 5
    token = opened(guest)
    guest.ok(CLOSE, token)
    assert guest.send(COUNT, token).status is Status.AUTHENTICATION_ERROR


def test_what_is_in_the_container_is_not_the_guests_to_change(guest: MadeGuest, host: MadeHost) -> None:
    token, own = opened(guest), guest.ok(OPEN_DPBP, 0, words(1)).token
    guest.ok(CLOSE, own)
    for code, parameters in (
        (CREATE_DPBP, b""),
        (DESTROY_DPBP, words(1)),
        (CREATE_CONTAINER, words(0, 0xFFFFFFFF)),
        (ASSIGN, request(2, "dpbp", 1)),
        (UNASSIGN, request(2, "dpbp", 1)),
    ):
        assert guest.send(code, token, parameters).status is Status.NO_PRIVILEGE
    assert len(names(guest, token)) == 5


def test_what_the_host_adds_is_seen(guest: MadeGuest, host: MadeHost) -> None:
    token = opened(guest)
    dpbp, dpmcp = add(host, CREATE_DPBP, "dpbp"), add(host, CREATE_DPMCP, "dpmcp")
    assert names(guest, token)[-2:] == [dpbp, dpmcp]
    number = int(dpmcp.partition(".")[2])
    portal = guest.ok(REGION, token, region("dpmcp", number)).long(8)
    assert guest.ok(CONTAINER_ID, portal=portal).word(0) == 2


def test_a_dpio_that_the_host_adds_has_no_regions(
    guest: MadeGuest, host: MadeHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """VFIO has no device for it."""
    token = opened(guest)
    number = int(add(host, 0x903, "dpio").partition(".")[2])
    for _ in range(3):
        assert guest.send(REGION, token, region("dpio", number)).status is Status.NO_RESOURCE
    assert capfd.readouterr().err == f"the guest has no region 0 of dpio.{number}\n"


def test_where_messages_go_stays_here(guest: MadeGuest, host: MadeHost) -> None:
    token = opened(guest)
    sent = len(host.sent)
    guest.ok(SET_IRQ, token, message(7, TRANSLATER, number=3))
    guest.ok(SET_OBJECT_IRQ, token, message(9, TRANSLATER, of=("dpni", 0)))
    answer = guest.ok(GET_IRQ, token, words(0, 0))
    assert (answer.word(0), answer.long(8), answer.word(16)) == (7, TRANSLATER, 3)
    assert len(host.sent) == sent
    assert guest.ok(GET_IRQ, guest.ok(0x801, 0, words(0)).token, words(0, 0)).word(0) == 9
    assert guest.ok(GET_IRQ, guest.ok(OPEN_DPBP, 0, words(1)).token, words(0, 0)).word(0) == 0


@pytest.mark.parametrize("code", [SET_IRQ, GET_IRQ, SET_OBJECT_IRQ, GET_OBJECT_IRQ])
def test_interrupts_need_a_session(guest: MadeGuest, host: MadeHost, code: int) -> None:
    for token in (0, 77):
        assert guest.send(code, token, message(7, TRANSLATER)).status is Status.AUTHENTICATION_ERROR
    assert host.sent == []


def test_interrupts_that_are_not_there(guest: MadeGuest, host: MadeHost, capfd: pytest.CaptureFixture[str]) -> None:
    token = opened(guest)
    assert guest.send(SET_IRQ, token, message(7, TRANSLATER, index=1)).status is Status.CONFIG_ERROR
    assert guest.send(GET_OBJECT_IRQ, token, words(0, 0)).status is Status.UNSUPPORTED
    host.devices["dpni.0"].refuses = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    refused = guest.send(SET_OBJECT_IRQ, token, message(7, TRANSLATER, of=("dpni", 0)))
    assert refused.status is Status.CONFIG_ERROR
    assert "interrupt 0 of dpni.0 cannot be had from VFIO: " in capfd.readouterr().err


def test_a_management_complex_that_does_not_answer(
    guest: MadeGuest, host: MadeHost, capfd: pytest.CaptureFixture[str]
) -> None:
    host.fails = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    for _ in range(3):
        assert guest.send(VERSION).status is Status.TIMEOUT
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "the command 0x831 of the guest did not reach" in said


def test_no_guest_fills_a_log(guest: MadeGuest, capfd: pytest.CaptureFixture[str]) -> None:
    token = opened(guest)
    for number in range(2 * MOST_SENTENCES):
        guest.ok(SET_OBJECT_IRQ, token, message(1, TRANSLATER, of=("dpbp", 1000 + number)))
    assert capfd.readouterr().err.count("\n") == MOST_SENTENCES


@pytest.mark.parametrize(("kind", "status"), [(1, Status.OK), (2, Status.OK), (3, Status.NO_RESOURCE)])
def test_kinds_of_regions(guest: MadeGuest, host: MadeHost, kind: int, status: Status) -> None:
    """Newer firmware tells cached QBMan portals apart."""
    token = opened(guest)

    def other(answer: bytearray) -> None:
        answer[8 + 20] = kind

    host.spoils = other
    assert guest.send(REGION, token, region("dpio", 0)).status is status


def test_a_base_of_the_hosts_is_none_of_the_guests(guest: MadeGuest, host: MadeHost) -> None:
    token = opened(guest)
    host.spoils = lambda answer: struct.pack_into("<Q", answer, 8 + 32, 0x818000000)
    answer = guest.ok(REGION, token, region("dpmcp", 2))
    assert (answer.long(8), answer.long(32)) == (PORTAL_STRIDE, 0)


def test_places_end() -> None:
    for stride, count in ((PORTAL_STRIDE, PORTALS), (QUEUE_STRIDE, QUEUES)):
        places: Places[int] = Places(stride, count)
        assert [places.of(name) for name in range(count)] == [stride * name for name in range(count)]
        assert places.of(count) is None
        assert places.of(3) == 3 * stride


def test_a_dpio_without_a_place(guest: MadeGuest, host: MadeHost) -> None:
    token = opened(guest)
    for number in range(QUEUES // 2):
        host.devices[f"dpio.{100 + number}"] = MadeDevice(memory=host.devices["dpio.0"].memory)
    taken = [guest.bridge._region(f"dpio.{100 + number}", 0) for number in range(QUEUES // 2)]
    assert taken == [2 * QUEUE_STRIDE * number for number in range(QUEUES // 2)]
    assert guest.send(REGION, token, region("dpio", 0)).status is Status.NO_RESOURCE
