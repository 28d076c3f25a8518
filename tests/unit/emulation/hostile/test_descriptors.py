# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that hand over descriptors until there is no room for one more, and the wrong ones."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from passthru.vfio import linux_vfio as vfio
from passthru.vfio import linux_vfio_iommu as iommu
from passthru.vfio import user_messages as user
from tests.unit.emulation import scratch_model as scratch
from tests.unit.emulation.client import SECONDS, Client, signalled
from tests.unit.emulation.hostile.adversary import PAGE
from tests.unit.emulation.hostile.server import started, without_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.emulation.hostile.server import Server

FEW = 96  # descriptors that the server may have
READ = user.REGION_ACCESS.pack(0, 0, 1)


@contextmanager
def _ram() -> Iterator[int]:
    descriptor = os.memfd_create("ram")
    os.ftruncate(descriptor, PAGE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _map_until_it_fails(client: Client, ram: int) -> int:
    """How many mappings there was room for; each takes a descriptor."""
    answers = [client.map(number * PAGE, PAGE, descriptors=[ram]) for number in range(2 * FEW)]
    made = answers.index("EMFILE")
    assert set(answers[:made]) == {""}
    assert set(answers[made:]) == {"EMFILE"}
    return made


def _refused_at_once(server: Server) -> None:
    second = Client(server.connect())
    assert second.at_end()
    second.close()


def test_mappings_until_no_descriptor_is_left() -> None:
    with started(limits={resource.RLIMIT_NOFILE: FEW}) as server, _ram() as ram:
        for _ in range(2):  # what one client used up is there for the next one
            with server.client() as client:
                assert _map_until_it_fails(client, ram) > FEW // 4
                assert client.call(user.VFIO_USER_REGION_READ, READ).error == ""
                assert client.unmap(0, PAGE) == ""
                assert client.map(0, PAGE, descriptors=[ram]) == ""
            server.serve_another()


def test_a_second_client_is_refused_although_the_first_hands_over_all_that_it_can() -> None:
    """It made accept fail in the signal handler, which ended the server."""
    with started(limits={resource.RLIMIT_NOFILE: FEW}) as server, _ram() as ram:
        with server.client() as client:
            _map_until_it_fails(client, ram)
            message = user.command(9, user.VFIO_USER_REGION_READ, READ)
            socket.send_fds(client.connection, [message[:20]], [ram] * 16)  # held until the rest has come
            for _ in range(10):
                _refused_at_once(server)
            client.connection.sendall(message[20:])
            reply = client.receive()
            assert (reply.message_id, reply.error) == (9, "")
            assert client.unmap(0, 0, iommu.VFIO_DMA_UNMAP_FLAG_ALL) == ""
            assert client.map(0, PAGE, descriptors=[ram]) == ""
        server.serve_another()


def test_eventfds_until_no_descriptor_is_left() -> None:
    with started(limits={resource.RLIMIT_NOFILE: FEW}) as server, _ram() as ram, server.client() as client:
        eventfd = os.eventfd(0)
        _map_until_it_fails(client, ram)
        flags = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
        assert client.set_irqs(flags, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, descriptors=[eventfd]) == "EMFILE"
        client.unmap(0, PAGE)
        assert client.set_irqs(flags, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, descriptors=[eventfd]) == ""
        client.write(scratch.REGISTERS, scratch.TRIGGER, b"\0")
        assert signalled(eventfd) == 1
        os.close(eventfd)


def test_of_eventfds_of_which_one_is_none_none_is_taken(client: Client, new_eventfd: Callable[[], int]) -> None:
    """The ones before it were taken, and interrupted although their index was not enabled."""
    eventfd = new_eventfd()
    flags = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
    with _ram() as ram:
        assert client.set_irqs(flags, vfio.VFIO_PCI_MSIX_IRQ_INDEX, 0, 2, descriptors=[eventfd, ram]) == "EINVAL"
    client.write(scratch.REGISTERS, scratch.TRIGGER, b"\0")
    assert signalled(eventfd) == 0


def test_descriptors_within_what_is_thrown_away_do_not_pile_up() -> None:
    """They were held until the client left, thousands of them."""
    size = 4 << 20
    with started() as server, server.client() as client, _ram() as ram:
        before = server.descriptors()
        client.connection.sendall(user.HEADER.pack(1, user.VFIO_USER_REGION_WRITE, size, 0, 0))
        assert client.receive().error == "E2BIG"
        left = size - user.HEADER.size
        for _ in range(100):
            left -= socket.send_fds(client.connection, [bytes(4096)], [ram] * 16)
        while left > 1:  # the last byte is still to come
            left -= client.connection.send(bytes(min(left - 1, 1 << 16)))
        server.has_read(client.connection)
        assert server.descriptors() <= before + 16  # it may be at the last ones
        client.connection.sendall(b"\0")
        assert client.call(user.VFIO_USER_REGION_READ, READ).error == ""
        assert server.descriptors() == before


def test_descriptors_in_flight_that_are_too_many_are_an_errno() -> None:
    """Sending the descriptor of a region then fails with ETOOMANYREFS, which ended the server."""
    code = """
import os, socket, sys
ours, theirs = socket.socketpair()
for _ in range(60):
    socket.send_fds(ours, [b"x"], [0] * 10)
print("in flight", flush=True)
sys.stdin.read()
"""
    crowd = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=without_privileges,
        text=True,
    )
    assert crowd.stdin is not None
    assert crowd.stdout is not None
    try:
        assert crowd.stdout.readline() == "in flight\n"
        with started(limits={resource.RLIMIT_NOFILE: FEW}, privileged=False) as server, server.client() as client:
            info = vfio.REGION_INFO.pack(1 << 16, 0, scratch.MEMORY, 0, 0, 0)
            assert client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, info).error == "ETOOMANYREFS"
            assert client.call(user.VFIO_USER_REGION_READ, READ).error == ""
            crowd.communicate("", SECONDS)
            reply = client.call(user.VFIO_USER_DEVICE_GET_REGION_INFO, info)
            assert (reply.error, len(reply.descriptors)) == ("", 1)
            os.close(reply.descriptors[0])
    finally:
        crowd.kill()
        crowd.communicate()
