"""The program that keeps images on a machine, run here as it is run there."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import time
import zlib
from importlib import resources
from pathlib import Path

import pytest

PROGRAM = resources.files("harness.lab").joinpath("receive.py").read_text(encoding="utf-8")


def run(*words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-I", "-c", PROGRAM, *words]
    return subprocess.run(argv, input=given, capture_output=True, timeout=30, check=False)


def packed() -> tuple[bytes, str]:
    """An archive with a file, a program and a link, as it is sent; and its digest."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data, mode in (("top/file", b"data" * 100_000, 0o644), ("run", b"#!", 0o755)):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "top/file"
        tar.addfile(link)
    return zlib.compress(buffer.getvalue(), 1), hashlib.sha256(buffer.getvalue()).hexdigest()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with one image, ``image``."""
    place = tmp_path / "cache"
    assert run("check", str(place), "30", "image").stdout == b""
    data, digest = packed()
    done = run("receive", str(place), "image", digest, given=data)
    assert (done.returncode, done.stderr) == (0, b"")
    return place


def test_an_image_that_has_arrived_is_there_with_its_files_modes_and_links(cache: Path) -> None:
    assert run("check", str(cache), "30", "image", "other").stdout == b"image\n"
    assert (cache / "image/link").read_bytes() == b"data" * 100_000
    assert (cache / "image/run").stat().st_mode & 0o777 == 0o755
    assert os.listdir(cache) == ["image"]


@pytest.mark.parametrize("damage", ["cut off", "empty", "another digest", "not compressed"])
def test_nothing_stays_of_an_archive_that_is_not_what_was_announced(
    cache: Path, damage: str
) -> None:
    data, digest = packed()
    if damage == "another digest":
        digest = hashlib.sha256(b"").hexdigest()
    given = {"cut off": data[: len(data) // 2], "empty": b"", "not compressed": b"x" * 1000}
    done = run("receive", str(cache), "other", digest, given=given.get(damage, data))

    assert done.returncode == 1
    assert done.stderr.startswith(str(cache).encode())
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(cache) == ["image"]


def test_a_damaged_image_is_not_there_and_is_replaced(cache: Path) -> None:
    (cache / "image/top/file").write_bytes(b"short")
    assert run("check", str(cache), "30", "image").stdout == b""

    data, digest = packed()
    assert run("receive", str(cache), "image", digest, given=data).returncode == 0
    assert run("check", str(cache), "30", "image").stdout == b"image\n"
    assert os.listdir(cache) == ["image"]


def test_an_image_that_another_lab_has_brought_meanwhile_stays(cache: Path) -> None:
    before = (cache / "image/run").stat().st_ino
    data, digest = packed()
    assert run("receive", str(cache), "image", digest, given=data).returncode == 0
    assert (cache / "image/run").stat().st_ino == before


def test_images_that_no_lab_asks_for_go_in_the_end(cache: Path) -> None:
    long_ago = time.time() - 31 * 86400
    os.utime(cache / "image/.complete", (long_ago, long_ago))
    assert run("check", str(cache), "30", "image").stdout == b"image\n"  # asked for: it stays

    os.utime(cache / "image/.complete", (long_ago, long_ago))
    run("check", str(cache), "30", "other")
    assert os.listdir(cache) == []
