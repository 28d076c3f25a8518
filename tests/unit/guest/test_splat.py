# SPDX-License-Identifier: GPL-2.0-or-later
"""What real kernels print when they complain is recognised, whole and once; what only looks like it is not."""

from __future__ import annotations

import pytest

from passthru.guest.splat import WORTH_A_LOOK, Splat, SplatCollector

TRACE = "Call Trace:\n <TASK>\n dump_stack_lvl+0x44/0x5c\n ret_from_fork+0x22/0x30\n </TASK>"

RULE = "=" * 66

END = "---[ end trace 0000000000000000 ]---"
CUT = "------------[ cut here ]------------"

COMPLAINTS = {
    "panic": f"Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\nCPU: 0 PID: 1\n{TRACE}\n"
    "---[ end Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0) ]---",
    "oops": "BUG: kernel NULL pointer dereference, address: 0000000000000008\n#PF: supervisor read access\n"
    f"#PF: error_code(0x0000) - not-present page\nOops: 0000 [#1] PREEMPT SMP PTI\n{TRACE}\nCR2: 0000000000000008\n"
    f"{END}",
    "oops (gpf)": "general protection fault, probably for non-canonical address 0xdead000000000108: 0000 [#1] SMP\n"
    f"CPU: 0 PID: 77 Comm: cat\n{TRACE}\n{END}",
    "oops (6.12)": f"Oops: general protection fault, kernel NULL pointer dereference 0x9: 0000 [#1] SMP\n{TRACE}\n"
    f"{END}",
    "oops (arm64)": "Unable to handle kernel paging request at virtual address ffff800011e13000\nMem abort info:\n"
    f"Internal error: Oops: 96000047 [#1] SMP\n{TRACE}\n{END}",
    "oops (divide)": f"divide error: 0000 [#1] PREEMPT SMP NOPTI\n{TRACE}\n{END}",
    "bug": f"{CUT}\nkernel BUG at mm/slub.c:435!\ninvalid opcode: 0000 [#1] PREEMPT SMP\n{TRACE}\n{END}",
    "warning": f"{CUT}\nrefcount_t: underflow; use-after-free.\n"
    f"WARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110\n{TRACE}\n"
    f"{END}",
    "warning (7.x)": f"{CUT}\nWARNING: kernel/irq/manage.c:2029 at free_irq+0x1/0x2, CPU#0: rmmod/9\n{TRACE}\n{END}",
    "kasan": f"{RULE}\nBUG: KASAN: slab-out-of-bounds in f+0x1/0x2\n"
    f"Write of size 1 at addr ffff8880 by task insmod/88\n{TRACE}\nAllocated by task 88:\n kasan_save_stack+0x1\n"
    f"{RULE}",
    "kfence": f"BUG: KFENCE: use-after-free read in f+0x1/0x2\n{TRACE}\n{RULE}",
    "ubsan": f"UBSAN: array-index-out-of-bounds in drivers/x.c:12:3\nindex 8 is out of range\n{TRACE}\n{RULE}",
    "lockdep": "WARNING: possible circular locking dependency detected\n6.1.0 Not tainted\nis trying to acquire lock:\n"
    f"1 lock held by a/1:\nstack backtrace:\n{TRACE}",
    "hung-task": f"INFO: task mtty:123 blocked for more than 120 seconds.\n      Not tainted 6.1.0\n{TRACE}",
    "rcu-stall": f"rcu: INFO: rcu_preempt self-detected stall on CPU\nrcu: \t0-....: (5250 ticks this GP)\n{TRACE}",
    "soft-lockup": f"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [sh:77]\nModules linked in:\n{TRACE}",
    "hard-lockup": f"NMI watchdog: Watchdog detected hard LOCKUP on cpu 1\nModules linked in:\n{TRACE}",
    "complaint": f"BUG: sleeping function called from invalid context at mm/slab.h:1\npreempt_count: 1\n{TRACE}",
    "unhandled-irq": f'irq 10: nobody cared (try booting with the "irqpoll" option)\n{TRACE}',
}


def collected(text: str, *, finish: bool = True) -> list[Splat]:
    splats: list[Splat] = []
    collector = SplatCollector(lambda kind, title: None, splats.append)
    for line in text.splitlines():
        collector.feed(line)
    if finish:
        collector.finish()
    return splats


@pytest.mark.parametrize("name", COMPLAINTS)
def test_each_is_recognised_once_and_ends_by_itself(name: str) -> None:
    text = COMPLAINTS[name]
    (splat,) = collected(f"before\n{text}\nafter\n", finish=False)
    assert splat.kind == name.split(" ")[0]
    assert "after" not in splat.lines
    assert splat.title in text
    assert any("ret_from_fork" in line for line in splat.lines)
    assert any(WORTH_A_LOOK.search(line.encode()) for line in (splat.lines[0], splat.title))


def test_fatal_are_those_after_which_nothing_can_be_trusted() -> None:
    fatal = {name for name, text in COMPLAINTS.items() if collected(text)[0].fatal}
    assert {name.split(" ")[0] for name in fatal} == {"panic", "oops", "bug", "soft-lockup", "hard-lockup"}


def test_an_oops_and_the_panic_that_follows_are_two() -> None:
    assert [splat.kind for splat in collected(COMPLAINTS["oops"] + "\n" + COMPLAINTS["panic"])] == ["oops", "panic"]


def test_a_splat_without_an_end_ends_at_last() -> None:
    assert [splat.kind for splat in collected(COMPLAINTS["warning"].rsplit("\n", 1)[0])] == ["warning"]
    (splat,) = collected("BUG: something\n" + "line\n" * 1000)
    assert len(splat.lines) == 200


@pytest.mark.parametrize(
    "line",
    [
        "traps: a.out[123] general protection fault ip:401106 sp:7ffe error:0 in a.out[401000+1000]",
        "a.out[77]: segfault at 0 ip 0000000000401106 sp 00007ffe error 4 in a.out",
        "RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!",
        "Kernel command line: console=ttyS0 panic=-1 BUG: none",
        "ACPI BIOS Error (bug): Could not resolve symbol [\\_SB.PCI0], AE_NOT_FOUND",
        "[Firmware Bug]: TSC_DEADLINE disabled due to Errata",
        "systemd[1]: Oops: nothing",
        "WARNING: this line is about the weather",
        "rcu: Hierarchical RCU implementation.",
        "NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
    ],
)
def test_what_only_looks_like_it_is_none(line: str) -> None:
    assert collected(line) == []
