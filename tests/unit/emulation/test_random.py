# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a client sends: each sound command has its one reply, and the server never dies."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from passthru.emulation.models.mtty import Mtty
from passthru.emulation.models.mtty.uart import FIFO_SIZE, Uart
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import user_messages as user
from tests.unit.emulation.client import serving
from tests.unit.emulation.scratch_model import ScratchModel

if TYPE_CHECKING:
    from passthru.emulation.model import Model

few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

small = st.integers(0, 12)
u32 = st.one_of(small, st.integers(0, 0xFFFFFFFF))
u64 = st.one_of(st.integers(0, 300), st.integers(0, (1 << 64) - 1))
accesses = st.builds(user.REGION_ACCESS.pack, u64, u32, u32)
commands = st.one_of(
    st.tuples(st.just(user.VFIO_USER_REGION_READ), accesses),
    st.tuples(
        st.just(user.VFIO_USER_REGION_WRITE),
        st.builds(
            lambda offset, region, data: user.REGION_ACCESS.pack(offset, region, len(data)) + data,
            st.integers(0, 70),
            small,
            st.binary(max_size=24),
        ),
    ),
    st.tuples(
        st.just(user.VFIO_USER_DEVICE_SET_IRQS),
        st.builds(
            lambda flags, index, start, count: vfio.IRQ_SET.pack(20, flags, index, start, count) + b"\1" * 8,
            st.integers(0, 0x3F),
            small,
            u32,
            u32,
        ),
    ),
    st.tuples(st.just(user.VFIO_USER_DMA_MAP), st.builds(user.DMA_MAP.pack, st.just(32), small, u64, u64, u64)),
    st.tuples(st.just(user.VFIO_USER_DMA_UNMAP), st.builds(user.DMA_UNMAP.pack, st.just(24), small, u64, u64)),
    st.tuples(st.one_of(small, st.integers(0, 0xFFFF)), st.binary(max_size=80)),
)
# What answers with DMA messages of its own is left to test_dma: here every reply is to be counted.
models = st.sampled_from(["one port", "two ports"])


def _model(name: str) -> Model:
    return Mtty(Mtty.Options(ports=1)) if name == "one port" else Mtty(Mtty.Options())


@few
@given(models, st.lists(st.tuples(commands, st.booleans(), st.integers(0, 2)), max_size=20))
def test_each_command_has_its_reply(name: str, sent: list[tuple[tuple[int, bytes], bool, int]]) -> None:
    eventfd = os.eventfd(0)
    try:
        with serving(_model(name)) as client:
            client.version()
            for (command, payload), answered, descriptors in sent:
                flags = 0 if answered else user.NO_REPLY
                message_id = client.send(command, payload, descriptors=[eventfd] * descriptors, flags=flags)
                if answered:
                    reply = client.receive()
                    assert (reply.message_id, reply.command) == (message_id, command)
                    for descriptor in reply.descriptors:
                        os.close(descriptor)
            assert client.read(7, 0, 4) == b"\x48\x43\x53\x32"
    finally:
        os.close(eventfd)


@few
@given(st.booleans(), st.lists(st.binary(min_size=1, max_size=60), max_size=6))
def test_garbage_ends_the_connection_at_worst(agreed: bool, garbage: list[bytes]) -> None:
    model = ScratchModel()
    with serving(model) as client:
        if agreed:
            client.version()
        try:
            for part in garbage:
                client.connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
    with serving(model) as client:
        client.version()
        client.read(0, 0, 4)
    model.close()


@few
@given(st.data())
def test_any_cut_of_a_conversation_is_the_same_conversation(data: st.DataObject) -> None:
    payloads = data.draw(st.lists(commands, min_size=1, max_size=6))
    heap = b"".join(user.command(number, command, payload) for number, (command, payload) in enumerate(payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(heap)), max_size=5)))
    conversations = []
    for parts in ([0, len(heap)], [0, *cuts, len(heap)]):
        with serving(Mtty(Mtty.Options())) as client:
            client.version()
            for start, end in itertools.pairwise(parts):
                client.connection.sendall(heap[start:end])
            conversations.append([client.receive() for _ in payloads])
    assert conversations[0] == conversations[1]


@pytest.mark.parametrize("fixed", [True, False])
@few
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 255)), max_size=120))
def test_a_port_never_leaves_its_bounds(fixed: bool, operations: list[tuple[int, int]]) -> None:
    port = Uart(lambda: None, empty_by_count=fixed)
    sent: list[int] = []
    for register, value in operations:
        if value < 0:
            if register == 0 and fixed and not port.read(3, 1)[0] & 0x80:
                expected = sent.pop(0) if sent else 0
                assert port.read(0, 1)[0] == expected
            else:
                assert len(port.read(register, 1)) == 1
                if register == 0 and not port.read(3, 1)[0] & 0x80:
                    sent = sent[1:]
        else:
            mcr = port.read(4, 1)[0]
            if register == 0 and not port.read(3, 1)[0] & 0x80:
                port.write(4, b"\x20")
                if port.read(6, 1)[0] & 0x10:  # CTS with AFE: there is room
                    sent.append(value)
                port.write(4, bytes((mcr,)))
            if register == 2 and value & 6:
                sent.clear()
            port.write(register, bytes((value,)))
        assert len(sent) <= FIFO_SIZE
        assert port.read(5, 1)[0] & 0x61 in (0x01, 0x60)
