# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian mirror of our own: made packages, signed lists, served on this machine's loopback."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = 60.0


@dataclass(frozen=True)
class Package:
    """One made package; ``files`` maps paths to contents, a content that starts with "-> " is a link."""

    name: str
    version: str = "1.0"
    depends: str = ""
    files: Mapping[str, str | bytes] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its name in the pool, where no epoch is shown."""
        return f"{self.name}_{self.version.rpartition(':')[2]}_amd64.deb"


class Key:
    """A signing key in a home of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(mode=0o700)
        self.home = home
        self.gpg("--quick-gen-key", "made@example.invalid", "ed25519", "sign", "never")
        self.keyring = home / "keyring.gpg"
        self.gpg("--output", str(self.keyring), "--export")

    def gpg(self, *words: str) -> None:
        """Run gpg without asking anybody."""
        argv = [
            "gpg",
            "--homedir",
            str(self.home),
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        subprocess.run([*argv, *words], check=True, timeout=_SECONDS, capture_output=True)

    def stop(self) -> None:
        """End the agent that gpg started."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, timeout=_SECONDS)


class Mirror:
    """Serves a tree as a Debian mirror; ``requests`` are the paths asked for, in their order.

    While ``gate`` is clear, packages are sent to their half only; ``halfway`` is set when one stopped there.
    """

    def __init__(self, root: Path, key: Key) -> None:
        self.root = root
        self.key = key
        self.requests: list[str] = []
        self.published = time.time() - 10_000
        self.gate = threading.Event()
        self.gate.set()
        self.halfway = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """What PASSTHRU_DEBIAN_MIRROR takes."""
        return f"http://127.0.0.1:{self.server.server_port}/debian"

    def fetched(self, ending: str) -> int:
        """How often a path of this ending was asked for."""
        return sum(path.endswith(ending) for path in self.requests)

    def stop(self) -> None:
        """Go off the net."""
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(_SECONDS)

    def publish(self, suite: str, packages: list[Package], *, key: Key | None = None, backports: bool = False) -> None:
        """Make a suite consist of these packages."""
        pool = self.root / "debian/pool"
        stanzas = "\n".join(self._stanza(package, self._built(package, pool)) for package in packages)
        home = self.root / "debian/dists" / suite
        lists = home / "main/binary-amd64/Packages"
        lists.parent.mkdir(parents=True, exist_ok=True)
        lists.write_text(stanzas)
        digest = hashlib.sha256(lists.read_bytes()).hexdigest()
        release = f"Origin: Made\nSuite: {suite}\nCodename: {suite}\nDate: {formatdate(usegmt=True)}\n"
        release += "NotAutomatic: yes\nButAutomaticUpgrades: yes\n" if backports else ""
        line = f"{digest} {lists.stat().st_size} main/binary-amd64/Packages"
        release += f"Architectures: amd64\nComponents: main\nSHA256:\n {line}\n"
        (home / "Release").write_text(release)
        (home / "InRelease").unlink(missing_ok=True)
        (key or self.key).gpg("--clearsign", "--output", str(home / "InRelease"), str(home / "Release"))
        (home / "Release").unlink()
        self.published += 10  # apt asks for what changed since then, and times on the wire are whole seconds
        for path in (home / "InRelease", lists):
            os.utime(path, (self.published, self.published))

    def withdraw(self, package: Package) -> None:
        """Take a file off the pool, as a mirror does when a newer one came."""
        (self.root / "debian/pool" / package.file).unlink()

    def path(self, package: Package) -> Path:
        """Its file in the pool."""
        return self.root / "debian/pool" / package.file

    def _built(self, package: Package, pool: Path) -> Path:
        pool.mkdir(parents=True, exist_ok=True)
        deb = pool / package.file
        if deb.exists():
            return deb
        tree = self.root / "build" / package.file
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(_control(package))
        for name, content in package.files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                (tree / name).write_bytes(content)
            elif content.startswith("-> "):
                (tree / name).symlink_to(content.removeprefix("-> "))
            else:
                (tree / name).write_text(content)
        argv = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb)]
        subprocess.run(argv, check=True, timeout=_SECONDS, capture_output=True)
        return deb

    def _stanza(self, package: Package, deb: Path) -> str:
        data = deb.read_bytes()
        place = f"Filename: pool/{deb.name}\nSize: {len(data)}\n"
        return f"{_control(package)}{place}SHA256: {hashlib.sha256(data).hexdigest()}\n"

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        mirror = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *words: object, **more: object) -> None:
                super().__init__(*words, directory=str(mirror.root), **more)  # type: ignore[arg-type]

            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                if not self.path.endswith(".deb") or mirror.gate.is_set():
                    super().do_GET()
                    return
                data = Path(self.translate_path(self.path)).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
                mirror.halfway.set()
                mirror.gate.wait(_SECONDS)
                self.wfile.write(data[len(data) // 2 :])

            def log_message(self, format: str, *words: object) -> None:  # noqa: A002  the name is http.server's
                """Nobody wants to see it."""

        return Handler


def _control(package: Package) -> str:
    depends = f"Depends: {package.depends}\n" if package.depends else ""
    return (
        f"Package: {package.name}\nVersion: {package.version}\nArchitecture: amd64\n"
        f"Maintainer: nobody <n@example.invalid>\n{depends}Description: made for a test\n"
    )
