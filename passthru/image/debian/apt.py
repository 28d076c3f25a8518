# SPDX-License-Identifier: GPL-2.0-or-later
"""apt with a state of its own: reads any suite and fetches packages without touching the machine, and without root.

apt reads the machine's configuration first, so that proxies, certificates and credentials of /etc/apt hold, and then
ours, which takes away what would break this: hooks, pins, default releases, foreign index targets. It resolves against
an empty dpkg status and verifies signatures with Debian's keyring; every .deb is compared with the sha256 of the
signed lists once more here, since apt takes a file that is already there by its size alone. What was fetched is kept in
a directory that apt does not know: of a closure, it names only the packages that its own archives/ lacks.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from passthru.errors import Unusable
from passthru.events import Note, Progress
from passthru.image.command import CommandFailed, Output, run
from passthru.image.debian.apt_words import failure, percent, raise_if_full, short, update_troubles
from passthru.image.tree import file_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from passthru.events import Tell
    from passthru.image.debian.mirrors import Mirror
    from passthru.image.debian.suites import Suite

UPDATE_SECONDS = 600.0
FETCH_SECONDS = 3600.0
ASK_SECONDS = 60.0
_FRESH_SECONDS = 3600.0
_NO_SUITE = "does not have a Release file"
_EXPIRED = "is expired"

_CONFIG = """\
#clear APT::Update;
#clear APT::Architectures;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Default-Release "";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "";
APT::Get::Assume-Yes "true";
APT::Get::AllowUnauthenticated "false";
APT::Get::Download-Only "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::GzipIndexes "false";
Acquire::Retries "1";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "true";
Dir::State "{home}";
Dir::State::lists "{home}/lists";
Dir::State::status "{home}/status";
Dir::State::extended_states "{home}/extended_states";
Dir::Cache "{home}";
Dir::Cache::archives "{home}/none";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Log "{home}";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{home}/sources.list.d";
Dir::Etc::Preferences "{home}/preferences";
Dir::Etc::PreferencesParts "/dev/null";
"""

_SOURCE = """\
Types: deb
URIs: {uri}
Suites: {suites}
Components: main
Architectures: {arch}
Targets: Packages
Signed-By: {keyring}
"""


class NotInSuite(Unusable):
    """The suite was read, and has no such package, or no longer that version of it."""


@dataclass(frozen=True)
class Package:
    """One exact package: ``file`` is its name in debs/, ``sha256`` is from the signed lists, ``size`` in bytes."""

    name: str
    version: str
    file: str
    size: int
    sha256: str

    @property
    def exact(self) -> str:
        """``name=version``, as apt takes it."""
        return f"{self.name}={self.version}"


class Apt:
    """apt for one suite and architecture, its state in ``home``; the caller guards it against other processes."""

    def __init__(self, suite: Suite, arch: str, home: Path, tell: Tell) -> None:
        self.suite = suite
        self.arch = arch
        self.home = home
        self.tell = tell
        self.refreshed = False
        """Whether refresh() read the lists just now."""
        self._needed("apt-get")
        self._needed("dpkg-deb")

    def refresh(self, mirrors: Sequence[Mirror], *, force: bool = False) -> None:
        """Read the suite's lists anew from the first mirror that has it, unless that was done within the last hour."""
        self._prepare()
        stamp = self.home / "fresh"
        if not force and _age(stamp) < _FRESH_SECONDS and self._configured_for(mirrors):
            return
        stamp.unlink(missing_ok=True)
        reason = ""
        for mirror in mirrors:
            self._configure(mirror)
            reason = self._update()
            if not reason:
                stamp.touch()
                self.refreshed = True
                return
            if mirror is not mirrors[-1]:
                self.tell(Note(f"{mirror.archive} does not serve {self.suite.name} ({reason}); trying Debian's own"))
        if self._have_lists():
            self.tell(
                Note(f"the lists of Debian {self.suite.name} could not be refreshed ({reason}); using older ones")
            )
            return
        if _NO_SUITE in reason:
            raise Unusable(
                f"there is no Debian suite {self.suite.name} at {mirrors[-1].archive}; write one like bookworm, "
                "trixie-backports, testing or sid, or name another mirror with PASSTHRU_DEBIAN_MIRROR"
            )
        if _EXPIRED in reason:
            raise Unusable(
                f"the mirror {mirrors[-1].archive} has an old copy of Debian {self.suite.name}: {reason}; name another "
                "mirror with PASSTHRU_DEBIAN_MIRROR, or take another suite"
            )
        raise Unusable(
            f"Debian {self.suite.name} could not be reached at {mirrors[-1].archive}: {reason}; check the network, or "
            "name a mirror with PASSTHRU_DEBIAN_MIRROR, or bring a filled cache with `passthru cache import`"
        )

    def closure(self, packages: Sequence[str]) -> list[str]:
        """Packages with all that they depend on, as ``name=version``, sorted; resolved on an empty system."""
        shown = self._ask(["install", "--print-uris", "-qq", *packages], packages)
        return sorted(f"{name}={version}" for name, version in (_name_version(line) for line in shown))

    def exactly(self, packages: Sequence[str]) -> list[Package]:
        """The named packages alone, ``name`` or ``name=version``, with size and sha256 from the signed lists."""
        found = []
        for line in self._ask(["download", "--print-uris", "-qq", *packages], packages):
            name, version = _name_version(line)
            _, file, size, digest = line.split()
            if not digest.startswith("SHA256:"):
                raise Unusable(f"the lists of Debian {self.suite.name} have no SHA256 for {name}; use another mirror")
            found.append(Package(name, version, file, int(size), digest.removeprefix("SHA256:")))
        return sorted(found, key=lambda package: package.name)

    def fetch(self, packages: Sequence[Package], what: str) -> list[Path]:
        """The .deb files, each whole and as signed; what an interrupted fetch left is used."""
        archives = self.home / "debs"
        for _ in range(2):
            missing = [package for package in packages if not _as_signed(archives / package.file, package)]
            if not missing:
                return [archives / package.file for package in packages]
            self._download(missing, archives, what)
        wrong = next(package for package in packages if not _as_signed(archives / package.file, package))
        raise Unusable(
            f"{wrong.file} from Debian {self.suite.name} is not what the signed lists say; a proxy or mirror serves "
            "something else: try again, or name another mirror with PASSTHRU_DEBIAN_MIRROR"
        )

    def _download(self, missing: Sequence[Package], archives: Path, what: str) -> None:
        total = sum(package.size for package in missing)
        work = f"fetching {what}"

        self.tell(Progress(work, 0, total, "bytes"))
        words = ["download", "-qq", "-o", "APT::Status-Fd={status}", "-o", "Acquire::Retries=2"]
        try:
            self._apt(
                [*words, *(package.exact for package in missing)],
                FETCH_SECONDS,
                cwd=archives,
                status_line=self._follow(work, total, "bytes"),
            )
        except CommandFailed as failed:
            raise_if_full(failed.stderr, self.home)
            raise Unusable(
                f"{what} could not be fetched from Debian {self.suite.name}: {failure(failed)}; check the network and "
                "try again: what was fetched already is kept"
            ) from failed
        self.tell(Progress(work, total, total, "bytes", finished=True))

    def _ask(self, words: Sequence[str], packages: Sequence[str]) -> list[str]:
        try:
            shown = self._apt(words, ASK_SECONDS).stdout.decode()
        except CommandFailed as failed:
            raise_if_full(failed.stderr, self.home)
            raise self._why_not(failed, packages) from failed
        return [line for line in shown.splitlines() if line.startswith("'")]

    def _why_not(self, failed: CommandFailed, packages: Sequence[str]) -> Unusable:
        name = self.suite.name
        version = re.search(r"Version '(.+)' for '(.+)' was not found", failed.stderr)
        if version:
            return NotInSuite(
                f"Debian {name} no longer has {version[2]} {version[1]}, which the lock file wants; bring it from a "
                "cache that has it with `passthru cache export` and `passthru cache import`, or run without the lock"
            )
        unknown = re.search(r"Unable to locate package (\S+)|Package '?(\S+?)'? has no installation", failed.stderr)
        if unknown:
            package = unknown[1] or unknown[2]
            return NotInSuite(f"Debian {name} has no package {package} for {self.arch}; use another suite")
        return Unusable(f"apt cannot resolve {', '.join(packages[:3])} in Debian {name}: {failure(failed)}")

    def _update(self) -> str:
        """'' when the required suites were read, else why not."""
        work = f"reading the lists of Debian {self.suite.name}"

        self.tell(Progress(work, 0, 100, "%"))
        try:
            words = ["update", "-qq", "-o", "APT::Status-Fd={status}"]
            said = self._apt(words, UPDATE_SECONDS, status_line=self._follow(work, 100, "%"), check=False)
        except CommandFailed as failed:
            return failed.last_words
        self.tell(Progress(work, 100, 100, "%", finished=True))
        raise_if_full(said.stderr, self.home)
        reason = ""
        for trouble in update_troubles(said.stderr):
            hurt = [
                name for name in self.suite.required if f"/dists/{name}/" in trouble or f" {name} Release" in trouble
            ]
            if hurt:
                return short(trouble)
            reason = short(trouble)
        if not self._have_lists():
            return reason or short(said.stderr) or "no list came"
        if reason:
            self.tell(Note(f"a part of Debian {self.suite.name} could not be read and is left out: {reason}"))
        return ""

    def _follow(self, work: str, total: float, unit: str) -> Callable[[str], None]:
        """Tells the progress that apt's status lines speak of, each step once."""
        reached = 0.0

        def line(text: str) -> None:
            nonlocal reached
            now = percent(text)
            if now is not None and now > reached:
                reached = now
                self.tell(Progress(work, round(total * now / 100), total, unit))

        return line

    def _have_lists(self) -> bool:
        lists = self.home / "lists"
        return all(any(lists.glob(f"*_dists_{name}_*Release")) for name in self.suite.required)

    def _configured_for(self, mirrors: Sequence[Mirror]) -> bool:
        try:
            text = (self.home / "sources.list.d" / "passthru.sources").read_text()
        except FileNotFoundError:
            return False
        return any(f"URIs: {mirror.archive}\n" in text for mirror in mirrors)

    def _prepare(self) -> None:
        """Write what holds this machine's paths: a cache may have been moved."""
        for name in ("lists/partial", "none/partial", "debs", "sources.list.d"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        (self.home / "status").write_bytes(b"")
        (self.home / "apt.conf").write_text(_CONFIG.format(arch=self.arch, home=self.home))
        pin = f"Package: *\nPin: release n={self.suite.preferred}\nPin-Priority: 500\n" if self.suite.preferred else ""
        (self.home / "preferences").write_text(pin)

    def _configure(self, mirror: Mirror) -> None:
        keyring = _keyring()
        stanzas = [(mirror.archive, self.suite.archive), (mirror.security, self.suite.security)]
        text = "\n".join(
            _SOURCE.format(uri=uri, suites=" ".join(suites), arch=self.arch, keyring=keyring)
            for uri, suites in stanzas
            if suites
        )
        (self.home / "sources.list.d" / "passthru.sources").write_text(text)

    def _apt(
        self,
        words: Sequence[str],
        seconds: float,
        *,
        cwd: Path | None = None,
        status_line: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> Output:
        argv = ["apt-get", "-c", str(self.home / "apt.conf"), *words]
        return run(argv, seconds=seconds, env=_ENV, cwd=cwd or self.home, status_line=status_line, check=check)

    def _needed(self, tool: str) -> None:
        if shutil.which(tool) is None:
            raise Unusable(
                f"{tool} is missing, and Debian {self.suite.name} cannot be fetched without it; install apt and dpkg "
                "with this system's package manager, or bring a filled cache with `passthru cache import`"
            )


_ENV: Mapping[str, str] = {"DEBIAN_FRONTEND": "noninteractive"}


def _keyring() -> Path:
    own = os.environ.get("PASSTHRU_DEBIAN_KEYRING")
    places = (
        [Path(own)]
        if own
        else [Path("/usr/share/keyrings") / f"debian-archive-keyring.{ending}" for ending in ("gpg", "pgp")]
    )
    for place in places:
        if place.is_file():
            return place
    raise Unusable(
        f"Debian's keys are missing ({places[0]}), so nothing from Debian could be verified; install the package "
        "debian-archive-keyring, or name a keyring with PASSTHRU_DEBIAN_KEYRING"
    )


def _age(stamp: Path) -> float:
    try:
        return abs(time.time() - stamp.stat().st_mtime)
    except FileNotFoundError:
        return float("inf")


def _name_version(line: str) -> tuple[str, str]:
    """Name and version of a line of --print-uris: ``'URI' name_version_arch.deb size digest``."""
    name, version, _ = line.split()[1].split("_", 2)
    return name, unquote(version)


def _as_signed(path: Path, package: Package) -> bool:
    try:
        if path.stat().st_size != package.size:
            return False
    except FileNotFoundError:
        return False
    if file_digest(path) == package.sha256:
        return True
    path.unlink()
    return False
