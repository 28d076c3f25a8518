# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell agent on a line of its own (a virtio-serial port): answers arrive whole and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from passthru.guest.protocol import VERSION, Ears, Exit, Hello

if TYPE_CHECKING:
    from passthru.guest.console import Console


class PortLink:
    """Reads the agent's answers off a console. An output may hold anything: it is counted, not searched."""

    longest_request = 32768

    def __init__(self, console: Console, ears: Ears) -> None:
        self._console = console
        self._ears = ears
        self._buffer = bytearray()
        self._needed = 0  # bytes without which there is nothing to look at
        self._exit: tuple[int, int | None, int, int, bool] | None = None
        self._broken = False
        self._greeted = True  # not after a restart: what comes before the hello is the old agent's
        self._stop = console.listen(self._feed)

    @property
    def last_heard(self) -> float:
        """When the agent said anything, on the monotonic clock."""
        return self._console.last_byte

    async def request(self, line: str) -> None:
        """Send one request."""
        await self._console.send(line.encode("ascii") + b"\n")

    def expect_exit(self, job: int, awaited: bool) -> None:
        """Exits come unasked on this line."""

    def restarted(self) -> None:
        """The agent is gone, perhaps within an answer; the next one begins with its hello."""
        self._buffer.clear()
        self._needed, self._exit = 0, None
        self._broken = self._greeted = False

    def close(self) -> None:
        """Stop listening."""
        self._stop()

    def _feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._needed and not self._broken:
            if self._exit is not None:
                self._take_outputs()
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                break
            line = bytes(self._buffer[:end]).decode("utf-8", "replace")
            del self._buffer[: end + 1]
            self._take_line(line)

    def _take_line(self, line: str) -> None:
        if not self._greeted:
            start = line.rfind("hello ")
            if start < 0:
                return
            line, self._greeted = line[start:], True
        words = line.split(" ")
        try:
            match words:
                case ["hello", version, generation, release] if version == VERSION:
                    self._ears.hello(Hello(generation, release))
                case ["exit", job, status, out, err, note]:
                    number = None if status == "lost" else int(status)
                    self._exit = (int(job), number, int(out), int(err), note != "ok")
                    self._needed = int(out) + int(err) + len(f"end {job}\n")
                case [word, rest]:
                    self._ears.word(word, rest)
                case _:
                    raise ValueError(line)
        except ValueError:
            self._break(line)

    def _take_outputs(self) -> None:
        assert self._exit is not None
        job, status, out, err, full = self._exit
        with memoryview(self._buffer)[: self._needed] as view:
            stdout, stderr, mark = bytes(view[:out]), bytes(view[out : out + err]), bytes(view[out + err :])
        del self._buffer[: self._needed]
        self._exit, self._needed = None, 0
        if mark != b"end %d\n" % job:
            self._break(mark.decode("utf-8", "replace"))
            return
        self._ears.exit(Exit(job, status, stdout, stderr, full))

    def _break(self, heard: str) -> None:
        self._broken = True
        self._ears.broken(heard[:200])
