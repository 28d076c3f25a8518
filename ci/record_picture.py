# SPDX-License-Identifier: GPL-2.0-or-later
"""Records a real run as the README's picture: `make picture`.

The program runs on a pseudo terminal; what a terminal would show in the end (pyte) becomes an SVG (rich).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pexpect
import pyte
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

COLUMNS, ROWS = 132, 40
COMMAND = ("run", "mtty")


def main() -> None:
    """Run the main job and write the picture."""
    picture = Path(__file__).parent / "pictures" / "mtty.svg"
    screen = shown(sys.argv[1:] or list(COMMAND))
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ passthru " + " ".join(COMMAND), style="bold"))
    for line in screen:
        console.print(line, no_wrap=True)
    picture.parent.mkdir(exist_ok=True)
    console.save_svg(str(picture), title="passthru")
    print(picture)


def shown(arguments: list[str]) -> list[Text]:
    """What a terminal shows in the end of ``passthru ARGUMENTS``, line by line."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.Stream(screen)
    command = str(Path(sys.executable).with_name("passthru"))
    child = pexpect.spawn(command, arguments, dimensions=(ROWS, COLUMNS), timeout=300, encoding="utf-8")
    while True:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=300))
        except pexpect.EOF:
            break
    lines = [_line(screen, row) for row in range(ROWS)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    return lines


def _line(screen: pyte.Screen, row: int) -> Text:
    text = Text()
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        text.append(cell.data, Style(color=_color(cell.fg), bold=cell.bold))
    text.rstrip()
    return text


def _color(name: str) -> Color | None:
    if name == "default":
        return None
    return Color.parse({"brown": "yellow"}.get(name, name))


if __name__ == "__main__":
    main()
