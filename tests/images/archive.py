"""A small Debian archive on loopback: signed, with packages that the test makes.

Everything that reads it is real: apt, its verifier, dpkg-deb. It counts what is fetched, can
lack files that its index lists, and can be slow.
"""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.images.signing import SigningKey

_CHUNK = 1 << 14


class Archive:
    """``add`` packages, then ``publish``. ``fetched`` counts the files that were asked for."""

    def __init__(self, top: Path, key: SigningKey, suite: str = "trixie") -> None:
        self.keyring = top / "keyring.gpg"
        self.fetched: Counter[str] = Counter()
        self.lacking: set[str] = set()
        self.slow = threading.Event()
        """Set: bodies of .deb files come one chunk at a time, each after ``go_on``."""
        self.go_on = threading.Semaphore(0)
        self._top, self._key, self._suite = top, key, suite
        self._stanzas: list[str] = []
        self._sources: list[str] = []
        self._pool = top / "www/pool"
        self._pool.mkdir(parents=True)
        self.keyring.write_bytes(key.public)
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive._answer(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}
        )
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/debian"

    def close(self) -> None:
        self.slow.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add(
        self, name: str, files: dict[str, bytes], version: str = "1.0-1", depends: str = ""
    ) -> None:
        """A package that holds ``files`` (all of them may be executed)."""
        tree = self._top / f"tree-{name}-{version}"
        for path, content in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(content)
            (tree / path).chmod(0o755)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n"
            f"Maintainer: a test <test@example.org>\nDescription: made by a test\n"
            + (f"Depends: {depends}\n" if depends else "")
        )
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(control)
        file = self._pool / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
        subprocess.run(
            ["dpkg-deb", "--build", "--root-owner-group", "-Znone", tree, file],
            check=True,
            capture_output=True,
        )
        self._stanzas.append(control + self._described(file))

    def add_source(self, name: str, version: str, files: dict[str, bytes]) -> None:
        """A source package made of ``files``, one of which is ``*.dsc``."""
        rows = ""
        for path, content in files.items():
            (self._pool / path).write_bytes(content)
            rows += f"\n {hashlib.sha256(content).hexdigest()} {len(content)} {path}"
        self._sources.append(
            f"Package: {name}\nVersion: {version}\nDirectory: pool\nFormat: 1.0\n"
            f"Checksums-Sha256:{rows}\n"
        )

    def publish(self) -> None:
        dists = self._top / "www/dists" / self._suite
        indexes = {
            "main/binary-amd64/Packages": "\n".join(self._stanzas),
            "main/source/Sources": "\n".join(self._sources),
        }
        rows = ""
        for path, text in indexes.items():
            (dists / path).parent.mkdir(parents=True, exist_ok=True)
            (dists / path).write_text(text)
            rows += f"\n {hashlib.sha256(text.encode()).hexdigest()} {len(text)} {path}"
        release = (
            f"Origin: Debian\nLabel: Debian\nSuite: {self._suite}\nCodename: {self._suite}\n"
            f"Date: {formatdate(usegmt=True)}\nArchitectures: amd64\nComponents: main\n"
            f"SHA256:{rows}\n"
        )
        (dists / "Release").write_text(release)
        (dists / "Release.gpg").write_bytes(self._key.sign(release.encode()))

    def _described(self, file: Path) -> str:
        content = file.read_bytes()
        return (
            f"Filename: pool/{file.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = self._top / "www" / request.path.removeprefix("/debian/").replace("%25", "%")
        self.fetched[path.name] += 1
        if path.name in self.lacking or not path.is_file():
            request.send_error(404)
            return
        content = path.read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.send_header("Last-Modified", formatdate(time.time(), usegmt=True))
        request.end_headers()
        for start in range(0, len(content), _CHUNK):
            if self.slow.is_set() and path.suffix == ".deb":
                self.go_on.acquire(timeout=20)
            request.wfile.write(content[start : start + _CHUNK])
