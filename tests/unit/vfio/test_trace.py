# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces: what is written is what is read, cut off or not."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passthru.errors import UserMistake
from passthru.vfio import linux_vfio as vfio
from passthru.vfio import trace
from passthru.vfio import user_messages as user
from passthru.vfio.trace_lines import describe, read_trace

if TYPE_CHECKING:
    from pathlib import Path


def _writer(path: Path) -> trace.TraceWriter:
    return trace.TraceWriter(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))


def _texts(path: Path) -> list[str]:
    return [line.split(maxsplit=1)[1] for line in read_trace(path)]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            user.command(1, user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(5, 0, 1)),
            "REGION_READ id=1 bar0+0x5 count=1",
        ),
        (
            user.reply(1, user.VFIO_USER_REGION_READ, user.REGION_ACCESS.pack(5, 7, 2) + b"\x01\xab"),
            "REGION_READ id=1 ok config+0x5 count=2 data=01 ab",
        ),
        (
            user.command(2, user.VFIO_USER_REGION_WRITE, user.REGION_ACCESS.pack(0, 12, 1) + b"x", user.NO_REPLY),
            "REGION_WRITE id=2 no-reply region12+0x0 count=1 data=78",
        ),
        (user.error_reply(3, user.VFIO_USER_DEVICE_SET_IRQS, 25), "DEVICE_SET_IRQS id=3 error=ENOTTY"),
        (
            user.command(4, user.VFIO_USER_DEVICE_SET_IRQS, vfio.IRQ_SET.pack(20, 0x24, 0, 0, 1)),
            "DEVICE_SET_IRQS id=4 intx eventfd|trigger start=0 count=1",
        ),
        (
            user.command(4, user.VFIO_USER_DEVICE_SET_IRQS, vfio.IRQ_SET.pack(20, 0x12, 9, 0, 1) + b"\1"),
            "DEVICE_SET_IRQS id=4 irq9 bool|unmask start=0 count=1 data=01",
        ),
        (
            user.command(5, user.VFIO_USER_DMA_MAP, user.DMA_MAP.pack(32, 3, 0x100000, 0x100000, 0x1000)),
            "DMA_MAP id=5 address=0x100000 size=0x1000 offset=0x100000 flags=0x3",
        ),
        (
            user.command(6, user.VFIO_USER_DMA_UNMAP, user.DMA_UNMAP.pack(24, 2, 0, 0)),
            "DMA_UNMAP id=6 address=0x0 size=0x0 flags=0x2",
        ),
        (
            user.reply(7, user.VFIO_USER_DEVICE_GET_INFO, vfio.DEVICE_INFO.pack(16, 2, 9, 5)),
            "DEVICE_GET_INFO id=7 ok regions=9 irqs=5 flags=0x2",
        ),
        (
            user.reply(8, user.VFIO_USER_DEVICE_GET_REGION_INFO, vfio.REGION_INFO.pack(32, 3, 8, 0, 8, 0)),
            "DEVICE_GET_REGION_INFO id=8 ok vga argsz=32 size=0x8 offset=0x0 flags=0x3",
        ),
        (
            user.reply(9, user.VFIO_USER_DEVICE_GET_IRQ_INFO, vfio.IRQ_INFO.pack(16, 9, 2, 4)),
            "DEVICE_GET_IRQ_INFO id=9 ok msix count=4 flags=0x9",
        ),
        (
            user.command(10, user.VFIO_USER_DMA_READ, user.DMA_ACCESS.pack(4096, 8)),
            "DMA_READ id=10 address=0x1000 count=8",
        ),
        (
            user.command(11, user.VFIO_USER_REGION_WRITE_MULTI, user.WRITE_MULTI.pack(200) + bytes(4800)),
            "REGION_WRITE_MULTI id=11 writes=200 (4824 bytes)",
        ),
        (user.command(12, user.VFIO_USER_DEVICE_RESET), "DEVICE_RESET id=12"),
        (user.command(13, 99, b"\1\2"), "command 99 id=13 01 02"),
        (user.command(14, user.VFIO_USER_DMA_MAP, b"\1"), "DMA_MAP id=14 malformed"),
        (b"\1\2", "fragment 01 02"),
    ],
)
def test_messages_as_text(message: bytes, line: str) -> None:
    assert describe(message).startswith(line) if "malformed" in line else describe(message) == line


@given(st.binary(max_size=100))
def test_any_bytes_are_described(message: bytes) -> None:
    assert describe(message)


def test_a_trace_is_read_back(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "t")
    writer.message(trace.CONNECTED, b"")
    writer.message(trace.FROM_CLIENT, user.command(1, user.VFIO_USER_DEVICE_RESET), 2)
    writer.message(trace.FROM_SERVER, user.reply(1, user.VFIO_USER_DEVICE_RESET), 1)
    writer.note("something")
    writer.message(trace.DISCONNECTED, b"")
    writer.close()
    writer.note("too late")
    assert _texts(tmp_path / "t") == [
        "- client connected",
        "> DEVICE_RESET id=1 +2 fds",
        "< DEVICE_RESET id=1 ok +1 fd",
        "- something",
        "- client left",
    ]


def test_long_messages_are_captured_in_part(tmp_path: Path) -> None:
    data = user.REGION_ACCESS.pack(0, 0, 1 << 20) + bytes(1 << 20)
    writer = _writer(tmp_path / "t")
    writer.message(trace.FROM_CLIENT, user.command(1, user.VFIO_USER_REGION_WRITE, data))
    writer.close()
    assert (tmp_path / "t").stat().st_size < 5000
    (line,) = _texts(tmp_path / "t")
    assert line.endswith(f"({16 + len(data)} bytes)")


def test_records_wait_and_a_timer_is_armed_for_the_first_of_them(tmp_path: Path) -> None:
    armed: list[float] = []
    writer = trace.TraceWriter(os.open(tmp_path / "t", os.O_WRONLY | os.O_CREAT), arm=armed.append)
    size = (tmp_path / "t").stat().st_size
    for _ in range(3):
        writer.note("waits")
    assert (armed, (tmp_path / "t").stat().st_size) == ([trace.FLUSH_SECONDS], size)
    writer.flush()
    assert _texts(tmp_path / "t") == ["- waits"] * 3
    writer.note("again")
    assert len(armed) == 2
    writer.close()


def test_a_flush_while_a_record_is_made_leaves_the_timer_armed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    armed: list[float] = []
    path = tmp_path / "trace"
    writer = trace.TraceWriter(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), arm=armed.append)
    writer.note("first")
    clock = time.monotonic_ns

    def interrupted() -> int:
        writer.flush()
        return clock()

    monkeypatch.setattr(time, "monotonic_ns", interrupted)
    writer.note("second")
    assert armed == [trace.FLUSH_SECONDS] * 2
    writer.flush()
    assert _texts(path) == ["- first", "- second"]


def test_enough_of_them_are_written_at_once(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "t")
    for _ in range(100):
        writer.note("x" * 1000)
    assert (tmp_path / "t").stat().st_size > trace.FLUSH_BYTES
    writer.close()
    assert len(_texts(tmp_path / "t")) == 100


def test_a_flush_between_any_two_steps_loses_nothing(tmp_path: Path) -> None:
    """By a timer's signal, as in a server, again and again while messages are recorded."""
    path = tmp_path / "trace"
    writer = _writer(path)
    before = signal.signal(signal.SIGALRM, lambda *_: writer.flush())
    signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
    try:
        for number in range(20_000):
            writer.message(trace.NOTE, str(number).encode())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    writer.close()
    assert _texts(path) == [f"- {number}" for number in range(20_000)]


def test_a_trace_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    writer = _writer(tmp_path / "t")
    writer.note("first")
    writer.note("second")
    writer.close()
    whole = (tmp_path / "t").read_bytes()
    for kept in range(trace.FILE_HEADER.size, len(whole)):
        (tmp_path / "t").write_bytes(whole[:kept])
        texts = [line.strip() for line in read_trace(tmp_path / "t")]
        clean = (kept - trace.FILE_HEADER.size) in (0, trace.RECORD.size + len("first"))
        assert (texts[-1:] == ["(the trace was cut off here)"]) is not clean
        assert len(texts) <= 2


def test_a_full_disk_ends_the_trace_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    writer = trace.TraceWriter(os.open("/dev/full", os.O_WRONLY))
    writer.note("lost")
    writer.close()
    assert capsys.readouterr().err == "the trace ends here: No space left on device\n"


@pytest.mark.parametrize("content", [b"", b"PTVU", b"#!/bin/sh\nexit 0 and so on\n"])
def test_what_is_no_trace_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(UserMistake, match="is no vfio-user trace"):
        list(read_trace(tmp_path / "t"))
    with pytest.raises(UserMistake, match="cannot be read"):
        list(read_trace(tmp_path / "nosuch"))
    (tmp_path / "t").write_bytes(trace.FILE_HEADER.pack(trace.MAGIC, 9, 0, 0))
    with pytest.raises(UserMistake, match="has format 9"):
        list(read_trace(tmp_path / "t"))
