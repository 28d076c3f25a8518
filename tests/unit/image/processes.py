# SPDX-License-Identifier: GPL-2.0-or-later
"""Python snippets in processes of their own: to be killed, to compete, to find no room or no permission."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 30.0
_CHECKOUT = Path(__file__).resolve().parents[3]
_PRELUDE = """
import os, sys, time
from pathlib import Path
from passthru.errors import PassthruError
from passthru.image.store import Store
def say(text):
    print(text, flush=True)
def tell(event):
    text = getattr(event, "text", None)
    if text: say("note: " + text)
store = Store(Path(sys.argv[1]))
"""


def start(snippet: str, cache: Path) -> subprocess.Popen[str]:
    """Start a snippet that has ``store``, ``tell`` and ``say``; its stdin is a pipe to hold it with."""
    argv = [sys.executable, "-c", _PRELUDE + snippet, str(cache)]
    env = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """Its next line; '' when it ended."""
    assert process.stdout
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str]) -> str:
    """Let it go on, and all that it said then."""
    out, _ = process.communicate(timeout=SECONDS)
    return out


def kill(process: subprocess.Popen[str]) -> None:
    """End it as nothing can be caught."""
    process.kill()
    process.communicate(timeout=SECONDS)


def on_small_disk(snippet: str, mount_point: Path, options: str = "size=1m") -> str:
    """What a snippet says whose cache is on a tmpfs of its own; the test is skipped where none may be mounted."""
    mount_point.mkdir(exist_ok=True)
    script = (
        'mount -t tmpfs -o "$1" tmpfs "$2" && mkdir "$2/cache" && { [ -z "$5" ] || mount -o remount,bind,ro "$2"; } && '
    )
    script += 'exec "$3" -c "$4" "$2/cache"'
    remount = "ro" if options == "ro" else ""
    options = "size=1m" if remount else options
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if shutil.which("unshare") is None:
        pytest.skip("unshare of util-linux is missing")
    probe = subprocess.run([*unshare, "mount", "-t", "tmpfs", "t", str(mount_point)], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no filesystem can be mounted here, not even in a namespace of our own")
    argv = ["sh", "-c", script, "sh", options, str(mount_point), sys.executable, _PRELUDE + snippet, remount]
    env = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    done = subprocess.run([*unshare, *argv], capture_output=True, text=True, timeout=SECONDS, env=env, check=False)
    return done.stdout + done.stderr


def without_override(snippet: str, cache: Path) -> str:
    """What a snippet says that permissions bind, even if the tests run as root."""
    argv = [sys.executable, "-c", _PRELUDE + snippet, str(cache)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv of util-linux is missing")
        argv = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", *argv]
    env = {**os.environ, "PYTHONPATH": str(_CHECKOUT)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, env=env, check=False)
    return done.stdout + done.stderr
