# SPDX-License-Identifier: GPL-2.0-or-later
"""What a QEMU is to passthru: where it is, how it is started, and what it said it can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


@dataclass(frozen=True)
class Capabilities:
    """What a QEMU answered over QMP."""

    version: str
    """``11.1.3``."""
    package: str
    """Who built it, as it says itself: ``Debian 1:11.1.3+ds-1``; may be empty."""
    arch: str
    """What it emulates, in QEMU's words: x86_64, aarch64."""
    devices: frozenset[str] = field(repr=False)
    machines: frozenset[str] = field(repr=False)
    """Names and aliases: ``pc`` as well as ``pc-i440fx-11.1``."""
    accelerators: frozenset[str]
    """``tcg``, ``kvm``: built in, which does not say that this machine can."""

    def as_json(self) -> dict[str, Any]:
        """For the cache; ``from_json`` reads it."""
        return {
            name: sorted(value) if isinstance(value, frozenset) else value
            for name, value in ((name, getattr(self, name)) for name in Capabilities.__dataclass_fields__)
        }

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Capabilities:
        """Raises KeyError, TypeError for what ``as_json`` did not write."""
        return cls(
            version=str(answer["version"]),
            package=str(answer["package"]),
            arch=str(answer["arch"]),
            devices=frozenset(map(str, answer["devices"])),
            machines=frozenset(map(str, answer["machines"])),
            accelerators=frozenset(map(str, answer["accelerators"])),
        )

    def missing(self, needs: Collection[str]) -> list[str]:
        """Those devices of ``needs`` that it has not, sorted."""
        return sorted(set(needs) - self.devices)


@dataclass(frozen=True)
class Candidate:
    """A program that may be a QEMU; nobody has asked it yet."""

    source: str
    """How a user names it: a path, or ``debian:sid``."""
    command: tuple[str, ...]
    """What starts it; its own arguments follow."""
    identity: str
    """Changes when the program does; where it lies does not matter for a fetched one."""
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    root: Mapping[str, Any] | None = field(default=None, repr=False)
    """The pin of the cache entry that it was unpacked into; None for a program of this machine."""
    runs_on: str = ""
    """The architecture (Debian's word) whose machines start it, if it is not this one's: it is for a rig."""


@dataclass(frozen=True)
class Qemu(Capabilities):
    """A QEMU that answered; ``command`` with ``env`` starts it."""

    source: str
    command: tuple[str, ...]
    identity: str
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    root: Mapping[str, Any] | None = field(default=None, repr=False)
    runs_on: str = ""

    @classmethod
    def of(cls, candidate: Candidate, answer: Capabilities) -> Qemu:
        """What ``candidate`` is, now that it answered."""
        known = {name: getattr(answer, name) for name in Capabilities.__dataclass_fields__}
        return cls(**known, **{name: getattr(candidate, name) for name in Candidate.__dataclass_fields__})

    @property
    def title(self) -> str:
        """For a person: ``QEMU 11.1.3 (debian:sid)``."""
        return f"QEMU {self.version} ({self.source})"

    @property
    def pin(self) -> dict[str, Any]:
        """What a lock file keeps to use the same QEMU again; JSON-able, see ``find.pinned``."""
        root = dict(self.root) if self.root else None
        pin = {"source": self.source, "version": self.version, "identity": self.identity, "root": root}
        # One that this machine cannot start cannot be asked again either.
        return {**pin, "runs_on": self.runs_on, "answers": self.as_json()} if self.runs_on else pin
