# SPDX-License-Identifier: GPL-2.0-or-later
"""The README's commands as an ordinary user of a bare Debian 12, made for it: needs root, debootstrap and the network.

    sudo python3 ci/bare_debian.py [--keep] [--root DIR] [COMMAND...]       (default: make run, make test)

The root has what the README asks for and nothing else: no pip, no venv, no QEMU, no /dev/kvm; nothing of the caller's
environment, cache or .venv comes in. Of this machine it takes the way to the network: name service, certificates,
pip's machine-wide settings. Everything is mounted in a mount namespace of its own, so that removing the root cannot
reach what was mounted there. Exit status: that of the first command that failed, or 0; 125 where it cannot be tried.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = ("python3", "gcc", "make", "git", "ca-certificates")
COMMANDS = ("make run", "make test")
USER, UID = "alice", 1000
_NETWORK = ("etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt", "etc/pip.conf")
_LEFT_OUT = (".venv", "runs", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache", "build", "dist", "*.egg-info")
_TOOLS = ("debootstrap", "unshare", "mount", "chroot")

# $1 is the root, $2 the command. The device nodes are those of this machine, one by one: never its /dev as a whole.
_INSIDE = """
set -eu
mount -t tmpfs -o mode=755,size=1m tmpfs "$1/dev"
for name in null zero full random urandom tty; do
    : >"$1/dev/$name"
    mount --bind "/dev/$name" "$1/dev/$name"
done
for link in fd: stdin:/0 stdout:/1 stderr:/2; do
    ln -s "/proc/self/fd${link#*:}" "$1/dev/${link%%:*}"
done
mkdir "$1/dev/pts" "$1/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
ln -s pts/ptmx "$1/dev/ptmx"
mount -t tmpfs -o mode=1777,size=64m tmpfs "$1/dev/shm"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
exec chroot --userspec="$3:$3" "$1" /usr/bin/env -i HOME="/home/$4" PATH=/usr/bin:/bin \\
    sh -c 'cd ~/passthru && eval "$1"' sh "$2" </dev/null
"""


def main() -> int:
    """Make the root, run the commands, remove the root."""
    parser = argparse.ArgumentParser(description="the README's commands as an ordinary user of a bare Debian 12")
    parser.add_argument("--root", type=Path, help="where; one that is there already is used as it is, and stays")
    parser.add_argument("--keep", action="store_true", help="do not remove the root")
    parser.add_argument("--mirror", default="http://deb.debian.org/debian", help="Debian's mirror")
    parser.add_argument("commands", nargs="*", default=COMMANDS, metavar="COMMAND", help="default: make run, make test")
    options = parser.parse_args()
    trouble = why_not()
    if trouble:
        say(trouble)
        return 125
    root: Path = (options.root or Path(tempfile.mkdtemp(prefix="bare-debian-", dir="/var/tmp"))).absolute()
    there = (root / "home" / USER).is_dir()
    try:
        if not there and not bootstrap(root, options.mirror):
            return 125
        copy_checkout(root)
        return next((status for command in options.commands if (status := run(root, command))), 0)
    finally:
        if not there and not options.keep:
            subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=False)


def why_not() -> str:
    """What is missing, as a sentence; empty when nothing is."""
    if os.geteuid() != 0:
        return "only root can make a Debian root and enter it; use sudo"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is missing; install it (apt install debootstrap util-linux)"
    return ""


def bootstrap(root: Path, mirror: str) -> bool:
    """Make the root; whether it worked."""
    say(f"a bare Debian 12 with {', '.join(PACKAGES)} in {root}")
    include = f"--include={','.join(PACKAGES)}"
    log = root.with_name(root.name + ".log")
    root.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        words = ["debootstrap", "--variant=minbase", include, "bookworm", str(root), mirror]
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False)
    if done.returncode != 0:
        say(f"debootstrap failed (status {done.returncode}); it last said: {log.read_text().strip()[-300:]}")
        return False
    log.unlink()
    root.chmod(0o755)
    for name in _NETWORK:
        if (Path("/") / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path("/") / name, root / name)
    subprocess.run(["chroot", str(root), "useradd", "--create-home", "--uid", str(UID), USER], check=True)
    return True


def copy_checkout(root: Path) -> None:
    """Put this checkout, as it is now, into the user's home, as his."""
    target = root / "home" / USER / "passthru"
    if target.exists():
        shutil.rmtree(target)
    shutil.copytree(CHECKOUT, target, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    for folder, _, files in os.walk(target):
        for path in (folder, *(f"{folder}/{name}" for name in files)):
            os.chown(path, UID, UID, follow_symlinks=False)


def run(root: Path, command: str) -> int:
    """Run one command as the user; its exit status."""
    say(f"$ {command}")
    began = time.monotonic()
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
    done = subprocess.run([*namespaces, "sh", "-c", _INSIDE, "sh", str(root), command, str(UID), USER], check=False)
    say(f"$ {command}: exit status {done.returncode} after {time.monotonic() - began:.0f} s")
    return done.returncode


def say(text: str) -> None:
    """Tell a person what happens."""
    print(f"bare_debian: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
