"""A Debian archive of the tests' own, and recipes that are built from it in a second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.images import mirror
from tests.images.archive import Archive
from tests.images.signing import SigningKey

BUSYBOX = b"#!/bin/sh\necho usr/bin/sh\necho usr/bin/ls\n"
GUEST = """\
kind: guest
suite: trixie
packages: [busybox-static]
programs: [usr/bin/busybox]
load: []
files: {init: init}
"""


@pytest.fixture(scope="session")
def signing_key() -> SigningKey:
    return SigningKey()


@pytest.fixture
def archive(
    tmp_path: Path, signing_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Archive]:
    """An archive on loopback, and the only one that apt is told of. To be published."""
    made = Archive(tmp_path / "archive", signing_key)
    monkeypatch.setenv(mirror.ENVIRONMENT, made.address)
    monkeypatch.setattr(mirror, "KEYRING", made.keyring)
    # A proxy of this machine is not for loopback.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield made
    made.close()


@pytest.fixture
def small_guest(tmp_path: Path, archive: Archive) -> Path:
    """A directory with the recipe ``guest``, which the published archive can make."""
    archive.add("busybox-static", {"usr/bin/busybox": BUSYBOX, "usr/share/filler": bytes(1 << 18)})
    archive.publish()
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (recipes / "guest.yaml").write_text(GUEST)
    (recipes / "init").write_text("#!/bin/sh\n")
    return recipes
