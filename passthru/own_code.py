# SPDX-License-Identifier: GPL-2.0-or-later
"""Code that users bring, models and checks: loaded from files of theirs, and told by file and line where it is wrong.

Standard library only, since device servers load models by it.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from types import ModuleType

from passthru.errors import UserMistake

_SUFFIX = ".py"


class OwnCodeError(UserMistake):
    """Code of the user's is wrong; the message begins with its file, and its line where one is to blame."""


class _Loaded:
    """What was loaded so far: modules by path, and the directory whose modules others may import."""

    modules: dict[str, ModuleType] = {}
    files: dict[str, tuple[str, ...]] = {}
    directory = ""
    modules_before: frozenset[str] = frozenset()


def split_reference(text: str) -> tuple[str, str] | None:
    """File and name of ``FILE.py:NAME``; the name is empty for ``FILE.py``. None for what names no file."""
    if text.endswith(_SUFFIX):
        return text, ""
    path, _, name = text.rpartition(":")
    return (path, name) if path.endswith(_SUFFIX) else None


def load_file(path: str) -> ModuleType:
    """The module in the file ``path``, executed once; modules beside it can be imported. Raises OwnCodeError."""
    path = os.path.abspath(path)  # noqa: PTH100 (pathlib takes a device server's start-up time)
    if path in _Loaded.modules:
        return _Loaded.modules[path]
    source = _read(path)
    directory, file = os.path.split(path)
    _make_importable(directory)
    name = f"own_{len(_Loaded.modules)}_{re.sub(r'[^A-Za-z0-9_]', '_', file)}"
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # dataclasses and typing look there
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise OwnCodeError(sentence(error, directory, otherwise=path)) from error
    _Loaded.modules[path] = module
    _Loaded.files[path] = tuple(sorted({path, *(file for _, file in _modules_beside())}))
    return module


def files_of(path: str) -> tuple[str, ...]:
    """The loaded file ``path`` and the modules beside it that were imported for it or before it."""
    return _Loaded.files[os.path.abspath(path)]  # noqa: PTH100


def place_of(path: str, name: str) -> str:
    """``FILE:LINE`` where the class or function ``name`` of the file begins, ``FILE`` where that is not seen."""
    defines = re.compile(
        rf"\s*(?:class|(?:async\s+)?def)\s+{re.escape(name.rpartition('.')[2])}\b|{re.escape(name)}\s*[=:]"
    )
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return next((f"{path}:{number}" for number, line in enumerate(file, 1) if defines.match(line)), path)
    except OSError:
        return path


def sentence(error: BaseException, root: str, *, otherwise: str) -> str:
    """``FILE:LINE: ExceptionType: what it says``, of the innermost line below the directory (or file) ``root``.

    ``otherwise`` is the file to name where none of the lines is there.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename, root):
        return f"{error.filename}:{error.lineno or 1}: {type(error).__name__}: {error.msg}"
    if isinstance(error, SystemExit):
        said = "ends the program (sys.exit), although it is imported, not run"
    else:
        lines = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    frames = users_frames(error, root)
    return f"{frames[-1].filename}:{frames[-1].lineno}: {said}" if frames else f"{otherwise}: {said}"


def users_frames(error: BaseException, root: str) -> list[traceback.FrameSummary]:
    """Those frames of the traceback whose code is below the directory (or file) ``root``, the innermost last."""
    return [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename, root)]


def users_traceback(error: BaseException, root: str) -> str:
    """The traceback as Python prints it, reduced to the frames below the directory (or file) ``root``."""
    lines = traceback.format_exception_only(error)
    frames = users_frames(error, root)
    if frames:
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames), *lines]
    return "".join(lines)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except FileNotFoundError as error:
        raise OwnCodeError(f"{path}: there is no such file") from error
    except OSError as error:
        raise OwnCodeError(f"{path}: cannot be read: {error.strerror}") from error


def _make_importable(directory: str) -> None:
    """Let what is in ``directory`` be imported: after all libraries, so that nothing there hides one.

    Files in several directories may each have a module ``helper`` beside them: those of the last one are forgotten.
    """
    if directory == _Loaded.directory:
        return
    if _Loaded.directory:
        sys.path.remove(_Loaded.directory)
        for name, _ in _modules_beside():
            del sys.modules[name]
    _Loaded.modules_before = frozenset(sys.modules)
    _Loaded.directory = directory
    sys.path.append(directory)


def _modules_beside() -> list[tuple[str, str]]:
    """Names and files of the modules that the user's code imported from its own directory."""
    found = []
    for name in sys.modules.keys() - _Loaded.modules_before:
        place = f"{_Loaded.directory}/{name.replace('.', '/')}"
        file = getattr(sys.modules[name], "__file__", None)
        if file in (f"{place}{_SUFFIX}", f"{place}/__init__{_SUFFIX}"):
            found.append((name, str(file)))
    return found


def _is_users(file: str, root: str) -> bool:
    """Whether ``file`` is ``root`` or below it; that may be a whole project, whose libraries are not the user's."""
    below = root.rstrip("/") + "/"
    libraries = (os.path.dirname(__file__), sys.prefix)  # noqa: PTH120
    return file == root or (
        file.startswith(below)
        and not any(place.startswith(below) and file.startswith(f"{place}/") for place in libraries)
    )
