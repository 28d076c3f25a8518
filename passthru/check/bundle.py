# SPDX-License-Identifier: GPL-2.0-or-later
"""Many files in one output of one guest command: a script leaves files in its directory and they come back at once.

Each guest command costs a round trip and some forks (15 to 20 ms in an emulated guest), so a check is one script.
"""

from __future__ import annotations

from passthru.errors import PassthruError

BEGIN = """\
directory=$(mktemp -d /tmp/check.XXXXXX) || exit
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit
"""
"""Shell text that goes before the script: a directory of its own, which is removed at the end."""

END = """
stat -c '%s %n' -- * && echo && cat -- *
"""
"""Shell text that goes after it: the sizes and names of all files, an empty line, then their contents.

Files whose names begin with a dot stay behind.
"""


def parse(output: bytes) -> dict[str, bytes]:
    """The files by name; raises PassthruError for an output that is cut off or something else."""
    try:
        return _parsed(output)
    except ValueError as error:
        shown = output[:80].decode(errors="replace")
        raise PassthruError(
            f"a check's script in the guest printed something else than its files ({len(output)} bytes: {shown!r});"
            " a shell that works is needed to judge"
        ) from error


def _parsed(output: bytes) -> dict[str, bytes]:
    head, separator, content = output.partition(b"\n\n")
    files: dict[str, bytes] = {}
    for line in head.decode("ascii").splitlines():
        size, name = line.split(" ", 1)
        files[name], content = content[: int(size)], content[int(size) :]
        if len(files[name]) != int(size):
            raise ValueError(f"{name} is cut off")
    if not separator or not files or content:
        raise ValueError("the list of files and their contents do not agree")
    return files
