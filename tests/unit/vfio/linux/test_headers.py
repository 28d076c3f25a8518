# SPDX-License-Identifier: GPL-2.0-or-later
"""Our constants and structures are those of the kernel's headers, as its own compiler sees them.

The machine's headers may be older than what we know: what they do not have is not compared. CPATH names newer ones.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from struct import Struct
from typing import TYPE_CHECKING

import pytest

from passthru.vfio import (
    linux_iommufd,
    linux_kvm,
    linux_vfio,
    linux_vfio_container,
    linux_vfio_features,
    linux_vfio_iommu,
)
from tests.unit.vfio.linux.layouts import LAYOUTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MODULES = (
    linux_vfio,
    linux_vfio_container,
    linux_vfio_iommu,
    linux_vfio_features,
    linux_iommufd,
    linux_kvm,
)
_CC = shutil.which("cc")
_HEAD = """\
#include <stddef.h>
#include <stdio.h>
#include <linux/kvm.h>
#include <linux/vfio.h>
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#endif
#define TELL(number, value) printf("%d %llu\\n", number, (unsigned long long)(value))
int main(void) {
"""
LEAST = 100
"""How many of each sort must be there for the comparison to mean something; Linux 6.1 has half as many more."""


def constants() -> dict[str, int]:
    """The kernel's names in our modules, by their values."""
    return {
        name: value
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, int) and name.startswith(("VFIO_", "IOMMU", "KVM"))
    }


def places() -> dict[str, int]:
    """Expressions in C for each field's place and size, by what our layouts say of them."""
    found = {}
    for layout in LAYOUTS:
        for field, offset, size in layout.places():
            found[f"offsetof(struct {layout.name}, {field})"] = offset
            found[f"sizeof(((struct {layout.name} *)0)->{field})"] = size
    return found


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, int]:
    """Whatever of these expressions the headers have, with its value."""
    if (
        _CC is None
        or subprocess.run([_CC, "-E", "-"], input=b"#include <linux/vfio.h>", capture_output=True).returncode
    ):
        pytest.skip("a C compiler with <linux/vfio.h> is not installed")
    wanted = [*constants(), *places()]
    directory = tmp_path_factory.mktemp("headers")
    _, unknown = _compile(_CC, wanted, directory)
    known = [each for number, each in enumerate(wanted) if number not in unknown]
    program, unknown = _compile(_CC, known, directory)
    assert not unknown, f"{_CC} does not compile what it took before: {[known[number] for number in unknown]}"
    told = subprocess.run([program], capture_output=True, check=True, text=True).stdout
    return {known[int(number)]: int(value) for number, value in map(str.split, told.splitlines())}


def _compile(cc: str, expressions: list[str], directory: Path) -> tuple[Path, set[int]]:
    """The program, and the numbers of those expressions that do not compile."""
    source, program = directory / "values.c", directory / "values"
    lines = [f"TELL({number}, {each});" for number, each in enumerate(expressions)]
    source.write_text(_HEAD + "\n".join(lines) + "\nreturn 0;\n}\n")
    told = subprocess.run([cc, "-w", "-o", program, source], capture_output=True, text=True)
    first = len(_HEAD.splitlines()) + 1
    wrong = {int(line) - first for line in re.findall(r"^[^\n:]*:(\d+):\d+: error:", told.stderr, re.MULTILINE)}
    assert (told.returncode == 0) == (not wrong), told.stderr
    assert all(0 <= each < len(expressions) for each in wrong), told.stderr
    return program, wrong


def test_constants_are_the_kernels(values: Mapping[str, int]) -> None:
    ours = constants()
    compared = ours.keys() & values.keys()
    assert len(compared) >= LEAST
    # An int of C may be negative, where we mean its 32 bits.
    different = {name: (ours[name], values[name]) for name in compared if (ours[name] ^ values[name]) & 0xFFFFFFFF}
    assert different == {}


def test_fields_are_where_the_kernel_has_them(values: Mapping[str, int]) -> None:
    ours = places()
    compared = ours.keys() & values.keys()
    assert len(compared) >= LEAST
    different = {name: (ours[name], values[name]) for name in compared if ours[name] != values[name]}
    assert different == {}


def test_every_layout_is_compared() -> None:
    named = {id(layout.part) for layout in LAYOUTS}
    own = {"DESCRIPTOR", "PCI_VF_TOKEN"}  # a number and bytes, which are no structures
    left = [
        f"{module.__name__}.{name}"
        for module in MODULES
        for name, value in vars(module).items()
        if isinstance(value, Struct) and id(value) not in named and name not in own
    ]
    assert left == []


def test_layouts_are_little_endian_and_packed() -> None:
    assert all(layout.part.format.startswith("<") for layout in LAYOUTS)
