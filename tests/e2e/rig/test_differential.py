# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of mtty does what mtty.ko does: the same random operations on both, and every answer agrees."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from passthru.emulation.models.mtty import Mtty
from passthru.emulation.vfio_user.session import Session
from passthru.host import ChildSpec
from passthru.image.rig import CODE_HOME, PYTHON
from passthru.vfio import linux_vfio as vfio
from passthru.vfio.user.target import UserTarget
from tests.e2e.rig import operations
from tests.e2e.rig.emulated import TESTS, emulated, rig_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from hypothesis.strategies import SearchStrategy

OPERATIONS = 20_000
BATCH = 200
SHOWN = 40
SECONDS = 120.0
KERNEL = "debian:bookworm-backports"
"""From 6.7 on SET_IRQS with DATA_NONE does not crash the kernel; Debian's stacks are zeroed, so that what mtty leaves
unset in an answer is 0."""

CONFIG = vfio.VFIO_PCI_CONFIG_REGION_INDEX
DATA = (vfio.VFIO_IRQ_SET_DATA_NONE, vfio.VFIO_IRQ_SET_DATA_BOOL, vfio.VFIO_IRQ_SET_DATA_EVENTFD)
ACTIONS = (vfio.VFIO_IRQ_SET_ACTION_MASK, vfio.VFIO_IRQ_SET_ACTION_UNMASK, vfio.VFIO_IRQ_SET_ACTION_TRIGGER)
RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)

ports = st.sampled_from((0, 0, 0, 1))
registers = st.integers(0, 7)
values = st.one_of(st.integers(0, 255), st.sampled_from((0, 1, 2, 3, 4, 7, 8, 0x0B, 0x80, 0xFF)))
# Within its 255 bytes: mtty.ko takes an access that begins there, wherever it ends, and a server of ours does not.
config_offsets = st.one_of(
    st.sampled_from((0x00, 0x04, 0x06, 0x10, 0x14, 0x18, 0x24, 0x2C, 0x30, 0x3C, 0x3D)), st.integers(0, 0xFB)
)


def _write(region: int, offset: int, data: bytes) -> list[Any]:
    return ["write", region, offset, data.hex()]


def _register_write(port: int, register: int, value: int) -> list[Any]:
    return _write(port, register, bytes([value]))


@st.composite
def set_irqs(draw: st.DrawFn) -> list[Any]:
    """SET_IRQS, mostly such as a driver sends, sometimes such as nobody should."""
    flags = draw(st.sampled_from(DATA)) | draw(st.sampled_from(ACTIONS))
    if draw(st.integers(0, 19)) == 0:
        flags = draw(st.integers(0, 0x7F))
    index = draw(st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3, 4, 5)))
    start = draw(st.sampled_from((0, 0, 0, 0, 0, 1)))
    count = draw(st.sampled_from((1, 1, 1, 1, 0, 2)))
    bools = draw(st.binary(min_size=count, max_size=count)) if flags & vfio.VFIO_IRQ_SET_DATA_BOOL else b""
    numbers = [-1] * count
    if flags & vfio.VFIO_IRQ_SET_DATA_EVENTFD and draw(st.integers(0, 4)):
        numbers = [(draw(st.integers(0, 1)) + place) % 2 for place in range(count)]
    given = numbers if flags & vfio.VFIO_IRQ_SET_DATA_EVENTFD else []
    return ["set_irqs", flags, index, start, count, bools.hex(), *given]


enable = st.just(["set_irqs", DATA[2] | ACTIONS[2], 0, 0, 1, "", 0])
unmask = st.just(["set_irqs", DATA[0] | ACTIONS[1], 0, 0, 1, ""])
one: SearchStrategy[list[Any]] = st.one_of(
    st.builds(_register_write, ports, registers, values),
    st.builds(_register_write, ports, st.sampled_from((RBR_THR, IER, MCR, IIR_FCR)), values),
    st.builds(_register_write, ports, st.just(RBR_THR), values),
    st.builds(lambda port, register: ["read", port, register, 1], ports, registers),
    st.builds(lambda port: ["read", port, RBR_THR, 1], ports),
    st.builds(lambda port, register: ["read", port, register, 1], ports, st.sampled_from((IIR_FCR, LSR, MSR))),
    st.builds(lambda offset, size: ["read", CONFIG, offset, size], config_offsets, st.sampled_from((1, 2, 4))),
    st.builds(_write, st.just(CONFIG), config_offsets, st.binary(min_size=1, max_size=4)),
    unmask,
    enable,
    set_irqs(),
)
batches = st.lists(one, min_size=BATCH, max_size=BATCH)


class Kernel:
    """mtty.ko in the rig, asked by a program there; for a thread."""

    def __init__(self, connection: socket.socket, output: Path) -> None:
        connection.settimeout(SECONDS)
        self._connection = connection
        self._lines = connection.makefile("rw", encoding="ascii")
        self._output = output

    def perform(self, batch: list[Any]) -> list[Any]:
        """What comes of a batch on a new mdev."""
        self._lines.write(json.dumps(batch) + "\n")
        self._lines.flush()
        line = self._lines.readline()
        assert line, f"the program in the rig ended: {self._output.read_text()}"
        answers: list[Any] = json.loads(line)
        return answers

    def close(self) -> None:
        """Ask no more: an empty batch ends the program."""
        self._lines.write("[]\n")
        self._lines.close()
        self._connection.close()


class Server:
    """The model behind vfio-user, a new one for each batch."""

    def __init__(self, path: Path) -> None:
        self._target = UserTarget(str(path))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()

    def perform(self, batch: list[Any]) -> list[Any]:
        """What comes of a batch on a new model."""
        with self._serving():
            opened = self._target.open()
            try:
                return operations.perform(opened.device, batch)
            finally:
                opened.close()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    @contextmanager
    def _serving(self) -> Iterator[None]:
        def serve() -> None:
            connection, _ = self._listener.accept()
            with connection:
                Session(connection, Mtty(Mtty.Options()), None).run()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(SECONDS)
        assert not thread.is_alive(), "the server did not notice that its client left"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kernel]:
    """mtty.ko in a rig of its own, as the shared one's has the crash of 6.1."""
    scenario = Path(__file__).with_name("differential.toml")
    plan = await asyncio.to_thread(rig_plan, (f"host.kernel={KERNEL}",), scenario)
    async with emulated(plan, tmp_path_factory.mktemp("differential")) as host, host.modules("vfio_iommu_type1"):
        program = f"{TESTS}/operations.py"
        await host.put(Path(operations.__file__).read_bytes(), program)
        environment = {"PYTHONPATH": CODE_HOME}
        argv = (PYTHON, "-S", program, "{stream:batches}", "mtty-2")
        output = host.directory / "operations.log"
        spec = ChildSpec("operations", argv, env=environment, streams=("batches",), output=output)
        child = await host.rig.host.start(spec)
        asked = Kernel(child.streams["batches"], output)
        yield asked
        asked.close()
        ended = await child.wait(host.deadline())
        assert ended.code == 0, output.read_text()


@pytest.mark.asyncio(loop_scope="session")
async def test_the_model_and_the_kernel_answer_alike(kernel: Kernel, tmp_path: Path) -> None:
    """Registers, config space, SET_IRQS in all forms, refusals, and how often each eventfd was signalled."""
    server = Server(tmp_path / "mtty.sock")
    done = 0

    @settings(
        max_examples=OPERATIONS // BATCH,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),  # lists of this length take minutes to shrink: what went before is shown instead
        suppress_health_check=tuple(HealthCheck),
    )
    @given(batches)
    def agree(batch: list[Any]) -> None:
        nonlocal done
        theirs, ours = kernel.perform(batch), server.perform(batch)
        done += len(batch)
        for number, (operation, his, our) in enumerate(zip(batch, theirs, ours, strict=True)):
            if our != his:
                before = "\n".join(map(str, batch[max(0, number - SHOWN) : number]))
                pytest.fail(f"after\n{before}\n{operation} gives {our} by the model and {his} by the kernel")

    try:
        await asyncio.to_thread(agree)
    finally:
        server.close()
    assert done >= OPERATIONS
