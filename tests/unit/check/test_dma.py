# SPDX-License-Identifier: GPL-2.0-or-later
"""The check dma: what its driver must be asked, and that each single answer counts."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from passthru.check.context import AssignedDevice, Context
from passthru.check.dma import Options, judge
from passthru.check.finding import Finding, Verdict
from passthru.check.registry import judge as judge_or_skip
from passthru.errors import DeadlineExceeded, PassthruError
from tests.unit.check.harness import Answer, Log

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[str, str], str]
    """From a command and its sound answer to another answer."""

DEVICE = AssignedDevice("dma0", "0000:00:05.0", "dma-engine", {})
ENGINE = (
    "info interface=2 device=5054:444d kind=dma-engine id=0x1005054 buffer=65536 page=4096 interrupts=msix vectors=8"
    " intx=1 msi=8 msix=8 line=0 master=1 dma-bits=64"
)
EDU = (
    "info interface=2 device=1234:11e8 kind=edu id=0x10000ed buffer=4096 page=4096 interrupts=msi vectors=1"
    " intx=1 msi=1 msix=0 line=0 master=1 dma-bits=28"
)
COPIER = (
    "info interface=2 device=0000:0000 kind=copy-engine id=0x1004350 buffer=1048576 page=4096 interrupts=line vectors=1"
    " intx=0 msi=0 msix=0 line=1 master=1 dma-bits=64"
)
VECTORS = {"none": 0, "intx": 1, "line": 1, "msi": 1, "msix": 8}
SHORT: dict[str, Any] = {"sizes": (64,), "offsets": (0,), "patterns": ("offset",), "raises": 3}


class DriverGuest:
    """A guest whose driver answers as the real one does of a sound device, but for ``change``."""

    def __init__(self, info: str = ENGINE, change: Change = lambda command, answer: answer) -> None:
        self.kernel_log = Log()
        self.commands: list[list[str]] = []
        self._info = info
        self._change = change
        self._kind = "msix"

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        script = re.search(r"<<'\.'\n(.*)\n\.\n", command, re.DOTALL)
        assert script is not None
        self.commands.append(script[1].splitlines())
        lines = [self._change(line, self._answer(line.split())) for line in self.commands[-1]]
        return Answer("".join(f"{line}\n" for line in lines if line).encode())

    def _answer(self, words: list[str]) -> str:
        ended = "ended=1 fault=0x0 causes=0x100 others=0"
        interrupts = -1 if self._kind == "none" else 1
        match words:
            case ["info"]:
                return self._info
            case ["liveness", value]:
                return f"liveness wrote={value} got={int(value, 0) ^ 0xFFFFFFFF:#x}"
            case ["factorial", value]:
                return f"factorial of={value} got={math.factorial(int(value)) & 0xFFFFFFFF} interrupts={interrupts}"
            case ["interrupts", self._kind | "none" | "intx" | "line" | "msi" | "msix"]:
                self._kind = words[1]
                return f"interrupts asked={self._kind} failed=0 kind={self._kind} vectors={VECTORS[self._kind]}"
            case ["raise", vector, times]:
                counts = [times if number == int(vector) else "0" for number in range(VECTORS[self._kind])]
                return f"raise vector={vector} times={times} raised={times} spurious=0 counts={','.join(counts)}"
            case ["copy", _, size, *_]:
                return (
                    f"copy {ended} result=1 transferred={size} interrupts={interrupts}"
                    " wrong=0 outside=0 source=0 beside=0"
                )
            case ["fault", _, _, "0"]:
                return f"fault bus=0x1000 {ended} result=4 transferred=0 interrupts={interrupts} ram=0 buffer=0"
            case ["fault", *_]:
                told = ended.replace("fault=0x0", "fault=0x100000001000")
                return f"fault bus=0x100000001000 {told} result=2 transferred=0 interrupts={interrupts} ram=0 buffer=0"
            case ["master", way]:
                return f"master asked={way} command={'0x6' if way == 'on' else '0x2'}"
            case ["reset"]:
                return "reset failed=0 resets=1 liveness=0x0 source=0x0 buffer=0 master=1"
        raise AssertionError(words)


async def found(guest: Any, **options: Any) -> Finding:
    table = Options.model_validate({"use": "dma", "device": "dma0", **SHORT, **options})
    return await judge_or_skip(Context(guest, DEVICE), table)


def changed(command: str, old: str, new: str) -> DriverGuest:
    """A guest whose first answer to a command that the pattern ``command`` matches reads otherwise."""
    hits: list[str] = []

    def change(line: str, answer: str) -> str:
        if not re.match(command, line) or hits:
            return answer
        assert old in answer, answer
        hits.append(line)
        return answer.replace(old, new)

    return DriverGuest(change=change)


async def test_a_sound_device_passes() -> None:
    guest = DriverGuest()
    finding = await found(guest)
    assert finding.verdict is Verdict.PASSED, finding
    assert "(vectors: MSI-X 8, MSI 1, INTx 1)" in finding.summary
    assert finding.facts["vectors"] == {"msix": 8, "msi": 1, "intx": 1}
    assert finding.facts["offered"] == {"msix": 8, "msi": 8, "intx": 1}
    about, steps = guest.commands
    assert about == ["info", "interrupts msi"]
    assert [step for step in steps if step.startswith("raise")] == [f"raise {vector} 3" for vector in (*range(8), 0, 0)]
    assert steps.count("master off") == steps.count("master on") == 1
    assert steps.index("master off") < steps.index("fault to-device 64 0") < steps.index("master on")


async def test_every_size_offset_pattern_and_direction_is_tried() -> None:
    guest = DriverGuest()
    await found(guest, sizes=(1, 5000), offsets=(0, 4000), patterns=("zeros", "random"))
    copies = {tuple(step.split()[1:5]) for step in guest.commands[1] if step.startswith("copy")}
    assert copies >= {
        (way, size, offset, pattern)
        for way in ("to-device", "from-device")
        for size in ("1", "5000")
        for offset in ("0", "4000")
        for pattern in ("zeros", "random")
    }


async def test_the_defaults_cross_pages_and_fill_the_buffer() -> None:
    guest = DriverGuest()
    await found(guest, sizes=None, offsets=None)
    copies = {(int(step.split()[2]), int(step.split()[3])) for step in guest.commands[1] if step.startswith("copy")}
    assert {size for size, _ in copies} == {1, 64, 4096, 3 * 4096, 65536}
    assert {(64, 4093), (12288, 4093), (65536, 1)} <= copies
    vectors = {step.split()[5] for step in guest.commands[1] if step.startswith("copy")}
    assert vectors == {str(vector) for vector in range(8)}


AT = "at=7 {0}-wanted=01 {0}-got=02"


@pytest.mark.parametrize(
    ("command", "old", "new", "said"),
    [
        ("liveness 0x1", "0xedcba987", "0x12345678", "expected 0xedcba987, got 0x12345678"),
        ("factorial 5", "got=120", "got=119", "the factorial of 5, told by MSI-X vector 0: expected 120, got 119"),
        ("factorial 5", "interrupts=1", "interrupts=2", "expected 1 interrupt on MSI-X vector 0, got 2"),
        ("copy", "result=1", "result=2", "expected the result 1 (done), the device tells 2 (unmapped address) at 0x0"),
        ("copy", "ended=1", "ended=0", "the transfer did not end"),
        ("copy", "transferred=64", "transferred=63", "expected 64 bytes transferred, the device counted 63"),
        ("copy", "interrupts=1", "interrupts=0", "expected 1 interrupt on MSI-X vector 0, got 0"),
        ("copy", "interrupts=1", "interrupts=2", "expected 1 interrupt on MSI-X vector 0, got 2"),
        ("copy", "others=0", "others=1", "expected no interrupt on other vectors, got 1"),
        (
            "copy to",
            "wrong=0",
            "wrong=3 wrong-at=7 wrong-wanted=01 wrong-got=02",
            "64 bytes to the device from the start of a page, pattern offset, told by MSI-X vector 0: expected all its"
            " bytes in the device's buffer to be the pattern, 3 bytes not: the first, 7 from its start, is 02 instead"
            " of 01",
        ),
        (
            "copy from",
            "outside=0",
            "outside=1 outside-at=-1 outside-wanted=01 outside-got=02",
            "expected no byte of RAM before or behind it to change, 1 byte did: the first, -1 from its start, is 02",
        ),
        (
            "copy",
            "source=0",
            "source=1 source-at=0 source-wanted=01 source-got=02",
            "expected none of its bytes in RAM",
        ),
        ("copy", "beside=0", "beside=1 beside-at=9 beside-wanted=01 beside-got=02", "expected no byte of RAM before"),
        (
            "fault to-device 64 0x",
            "result=2",
            "result=1",
            "expected the result 2 (unmapped address), the device tells 1",
        ),
        ("fault to-device 64 0x", "fault=0x1000000", "fault=0x2000000", "expected the fault at 0x100000001000"),
        ("fault to-device 64 0x", "transferred=0", "transferred=8", "expected no bytes transferred"),
        ("fault to-device 64 0x", "ram=0", "ram=1 ram-at=0 ram-wanted=01 ram-got=02", "no byte of RAM to change"),
        (
            "fault from-device 64 0x",
            "buffer=0",
            "buffer=1 buffer-at=0 buffer-wanted=01 buffer-got=02",
            "64 bytes from the device at an unmapped address 0x100000000000 above RAM, told by MSI-X vector 7: expected"
            " no byte of the device's buffer to change",
        ),
        ("fault to-device 64 0x", "interrupts=1", "interrupts=0", "expected 1 interrupt on MSI-X vector 7, got 0"),
        (
            "fault from-device 64 0$",
            "result=4",
            "result=1",
            "expected the result 4 (no bus master), the device tells 1",
        ),
        ("fault from-device 64 0$", "interrupts=1", "interrupts=0", "expected 1 interrupt on INTx, got 0"),
        ("raise 3", "0,0,0,3,0", "0,0,0,2,0", "got 0,0,0,2,0,0,0,0; it gave up after interrupt 3 did not arrive"),
        (
            "raise 3",
            "0,0,0,3,0",
            "0,0,0,4,0",
            "3 interrupts raised on MSI-X vector 3: expected the counts 0,0,0,3,0,0,0,0",
        ),
        ("raise 3", "0,0,0,3,0", "0,0,3,0,0", "on the vectors, got 0,0,3,0,0,0,0,0"),
        ("raise 3", "0,0,0,3,0", "1,0,0,3,0", "on the vectors, got 1,0,0,3,0,0,0,0"),
        ("raise 0", "spurious=0", "spurious=100", "got 100: an interrupt storm"),
        ("interrupts msix", "vectors=8", "vectors=4", "enabling MSI-X: expected 8 vectors, got 4"),
        ("interrupts msix", "failed=0", "failed=28", "the guest's kernel gave none (errno 28)"),
        ("interrupts intx", "kind=intx", "kind=none", "enabling INTx: expected INTx, got polling"),
        ("master off", "0x2", "0x6", "switching bus mastering off: the command register reads 0x6"),
        ("reset", "failed=0", "failed=25", "the device's reset: the guest's kernel could not do it (errno 25)"),
        ("reset", "resets=1", "resets=0", "expected 1 reset, the device counted 0"),
        ("reset", "source=0x0", "source=0x7", "expected 0 in the register source, got 0x7"),
        ("reset", "buffer=0", "buffer=5", "expected 0 all over the buffer, 5 bytes not"),
        ("copy", "copy ended", "copy error=memory ended", "the driver refused: error memory"),
    ],
)
async def test_each_answer_counts(command: str, old: str, new: str, said: str) -> None:
    finding = await found(changed(command, old, new))
    assert finding.verdict is Verdict.FAILED, finding
    assert said in "\n".join(finding.details)
    assert len(finding.details) == 1


async def test_a_command_that_the_driver_refuses_fails() -> None:
    guest = DriverGuest(change=lambda line, answer: "error raise: no" if line == "raise 7 3" else answer)
    finding = await found(guest)
    assert finding.details == ("3 interrupts raised on MSI-X vector 7: the driver refused: raise: no",)


async def test_msi_with_fewer_vectors_than_offered_is_what_the_platform_gives() -> None:
    finding = await found(DriverGuest(), interrupts=("msi",))
    assert finding.verdict is Verdict.PASSED, finding
    assert finding.facts["vectors"] == {"msi": 1}


async def test_a_device_that_copies_ram_to_ram_is_judged_by_its_one_line() -> None:
    guest = DriverGuest(COPIER)
    finding = await found(guest)
    assert finding.verdict is Verdict.PASSED, finding
    assert "(vectors: its line 1)" in finding.summary
    assert finding.facts["offered"] == {"line": 1}
    words = {step.split()[0] for step in guest.commands[1]}
    assert words == {"interrupts", "copy", "fault", "raise", "reset"}  # no PCI, and no registers of the dma-engine's
    assert "interrupts none" not in guest.commands[1]  # the RAM that is its registers is never trapped
    assert not any(step.startswith("fault") and step.split()[3] == "0" for step in guest.commands[1])


async def test_what_a_copying_device_does_wrong_is_told_of_ram() -> None:
    def change(line: str, answer: str) -> str:
        if line.startswith("copy to-device"):
            return answer.replace("wrong=0", "wrong=1 wrong-at=63 wrong-got=01 wrong-wanted=00")
        return answer

    finding = await found(DriverGuest(COPIER, change))
    assert finding.verdict is Verdict.FAILED
    assert "64 bytes to other RAM from the start of a page" in finding.summary
    assert "expected all its bytes in other RAM to be the pattern, 1 byte not" in finding.summary


async def test_edu_is_judged_as_far_as_it_tells() -> None:
    guest = DriverGuest(EDU)
    finding = await found(guest, sizes=None)
    assert finding.verdict is Verdict.PASSED, finding
    words = {step.split()[0] for step in guest.commands[1]}
    assert words == {"liveness", "interrupts", "factorial", "copy", "raise"}
    assert {step.split()[2] for step in guest.commands[1] if step.startswith("copy")} == {"1", "64", "4096"}
    assert len(finding.details) == 3
    assert "edu tells nothing of it: faults" in finding.details[0]


async def test_much_data_is_polled_where_there_is_intx_only() -> None:
    guest = DriverGuest(ENGINE.replace("msi=8 msix=8", "msi=0 msix=0"), lambda line, answer: answer)
    await found(guest)
    steps = guest.commands[1]
    first = next(index for index, step in enumerate(steps) if step.startswith("copy"))
    assert steps[first - 1] == "interrupts none"


@pytest.mark.parametrize(
    ("info", "options", "said"),
    [
        (EDU, {"sizes": (4097,)}, "sizes has 4097, and the device's buffer is 4096 bytes"),
        (ENGINE, {"offsets": (4096,)}, "offsets has 4096, and the guest's pages are 4096 bytes"),
        (EDU, {"interrupts": ("msix",)}, "interrupts has msix, which the device does not offer"),
    ],
)
async def test_options_that_the_device_cannot_meet_are_no_failure_of_it(
    info: str, options: dict[str, Any], said: str
) -> None:
    finding = await found(DriverGuest(info), **options)
    assert finding.verdict is Verdict.ERROR
    assert said in finding.summary


class EndingGuest(DriverGuest):
    """A guest whose commands all end so."""

    def __init__(self, end: Answer | Exception) -> None:
        super().__init__()
        self._end = end

    async def run(self, command: str, timeout: float = 30.0) -> Answer:
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


async def test_without_the_module_the_check_is_skipped_with_the_reason() -> None:
    finding = await found(EndingGuest(Answer(b"", b"7.2.13\n", 71)))
    assert finding.verdict is Verdict.SKIPPED
    assert "the guest's kernel (7.2.13) has no module passthru_dma" in finding.summary


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (Answer(b"", b"", 72), "the guest has no device at 0000:00:05.0"),
        (Answer(b"", b"probe failed\n", 73), "did not take the device at 0000:00:05.0: probe failed"),
        (DeadlineExceeded("a command", 3.0), "dma0 hangs: its driver did not answer within 3.0 s"),
    ],
)
async def test_a_device_that_is_not_there_or_hangs_fails(end: Answer | Exception, said: str) -> None:
    finding = await found(EndingGuest(end))
    assert finding.verdict is Verdict.FAILED
    assert said in finding.summary


@pytest.mark.parametrize(
    "end",
    [
        Answer(b""),
        Answer(f"{ENGINE}\n".encode()),
        Answer(b"", b"sh: I/O error\n", 1),
        Answer(f"{ENGINE.replace('interface=1', 'interface=2')}\ninterrupts vectors=1\n".encode()),
        Answer(f"{ENGINE.replace('page=4096 ', '')}\ninterrupts vectors=1\n".encode()),
        Answer(f"{ENGINE.replace('page=4096', 'page=large')}\ninterrupts vectors=1\n".encode()),
        Answer(f"{ENGINE}\nliveness vectors=1\n".encode()),
    ],
)
async def test_a_driver_that_does_not_answer_as_it_should_is_no_verdict(end: Answer) -> None:
    with pytest.raises(PassthruError, match="passthru_dma"):
        await judge(Context(EndingGuest(end), DEVICE), Options(use="dma", device="dma0"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (5 << 20,)},
        {"offsets": (-1,)},
        {"patterns": ("all",)},
        {"patterns": ()},
        {"interrupts": ("none",)},
        {"raises": 0},
        {"unmapped": (4096,)},
        {"sizes": tuple(range(1, 1000))},
        {"x": 1},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Options.model_validate({"use": "dma", "device": "dma0", **wrong})
