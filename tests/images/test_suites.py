"""A suite that cannot give what a recipe wants says so; one that can is fetched from once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.debian import Suite
from harness.images.reporter import Reporter
from tests.images.archive import Archive

DSC = b"Format: 1.0\nSource: qemu\nVersion: 1:10.0-2\n"


def suite(path: Path, lines: list[str] | None = None, every: float = 5.0) -> Suite:
    told: list[str] = [] if lines is None else lines
    return Suite("trixie", path, Reporter("toolchain qemu", told.append, every=every))


@pytest.fixture
def two_versions(archive: Archive) -> Archive:
    for version in ("1:10.0-2", "1:10.0-1"):
        archive.add("qemu-system-x86", {"usr/bin/qemu": version.encode()}, version)
        archive.add("qemu-utils", {"usr/bin/qemu-img": version.encode()}, version)
    archive.add("seabios", {"usr/share/seabios/bios.bin": b"bios"}, "1.16-1")
    archive.publish()
    return archive


def test_packages_come_with_what_they_depend_on(tmp_path: Path, archive: Archive) -> None:
    archive.add("qemu", {"usr/bin/qemu": b"qemu"}, depends="seabios")
    archive.add("seabios", {"lib/firmware/bios.bin": b"bios"})
    archive.publish()
    there = suite(tmp_path / "cache")

    there.unpack(there.resolve(["qemu"]), tmp_path / "root")

    assert (tmp_path / "root/usr/bin/qemu").read_bytes() == b"qemu"
    assert (tmp_path / "root/usr/lib/firmware/bios.bin").read_bytes() == b"bios"
    assert (tmp_path / "root/lib").is_symlink()


def test_a_package_that_the_suite_does_not_have_is_named(
    tmp_path: Path, two_versions: Archive
) -> None:
    with pytest.raises(ImageError) as caught:
        suite(tmp_path / "cache").resolve(["qemu-system-x68"])

    assert caught.value.message == "suite trixie has no package 'qemu-system-x68'"


def test_the_newest_version_is_taken_unless_another_is_pinned(
    tmp_path: Path, two_versions: Archive
) -> None:
    there = suite(tmp_path / "cache")
    wanted = ["qemu-system-x86", "qemu-utils", "seabios"]

    newest = there.resolve(there.pinned(wanted, None))
    pinned = there.resolve(there.pinned(wanted, "1:10.0-1"))

    assert sorted(p.version for p in newest) == ["1.16-1", "1:10.0-2", "1:10.0-2"]
    assert sorted(p.version for p in pinned) == ["1.16-1", "1:10.0-1", "1:10.0-1"]


def test_a_version_that_the_suite_does_not_have_is_told_with_those_it_has(
    tmp_path: Path, two_versions: Archive
) -> None:
    with pytest.raises(ImageError) as caught:
        suite(tmp_path / "cache").resolve(["qemu-system-x86=1:9.0-1"])

    assert caught.value.message == (
        "suite trixie has no qemu-system-x86 1:9.0-1; it has: 1:10.0-2, 1:10.0-1"
    )
    assert "leave `version` out" in caught.value.hint


def test_a_package_that_is_listed_and_not_there_is_named(
    tmp_path: Path, two_versions: Archive
) -> None:
    two_versions.lacking.add("seabios_1.16-1_amd64.deb")
    there = suite(tmp_path / "cache")

    with pytest.raises(ImageError) as caught:
        there.unpack(there.resolve(["seabios"]), tmp_path / "root")

    assert caught.value.message.startswith(
        "suite trixie: seabios_1.16-1_amd64.deb is in the index, and the mirror answers: 404"
    )


def test_without_network_the_suite_and_what_to_check_are_told(
    tmp_path: Path, archive: Archive
) -> None:
    archive.close()

    with pytest.raises(ImageError) as caught:
        suite(tmp_path / "cache").resolve(["qemu"])

    assert caught.value.message == (
        "suite trixie: no index could be read from the Debian archives of this machine"
    )
    assert any("127.0.0.1" in line and "onnect" in line for line in caught.value.evidence)
    assert caught.value.hint.startswith("check the network")


def test_a_download_says_how_much_has_arrived(tmp_path: Path, archive: Archive) -> None:
    archive.add("large", {"usr/large": bytes(3 << 20)})
    archive.publish()
    archive.slow.set()
    lines: list[str] = []
    half = threading.Event()

    class Following(list[str]):
        def append(self, line: str) -> None:
            lines.append(line)
            if "downloading" in line and ("1 MB are here" in line or "2 MB are here" in line):
                half.set()

    there = suite(tmp_path / "cache", Following(), every=0.01)
    found = there.resolve(["large"])
    thread = threading.Thread(target=there.unpack, args=(found, tmp_path / "root"))
    thread.start()
    archive.go_on.release(100)  # 1.6 MB of 3

    assert half.wait(20), lines
    archive.slow.clear()
    archive.go_on.release(100)
    thread.join(20)
    assert (tmp_path / "root/usr/large").stat().st_size == 3 << 20


def test_a_source_package_comes_with_its_version(tmp_path: Path, archive: Archive) -> None:
    archive.add_source("qemu", "1:10.0-2", {"qemu_10.0-2.dsc": DSC, "qemu_10.0.tar.xz": b"tar"})
    archive.publish()

    version = suite(tmp_path / "cache").fetch_source("qemu", None, tmp_path)

    assert version == "1:10.0-2"
    assert (tmp_path / "qemu_10.0.tar.xz").read_bytes() == b"tar"


@pytest.mark.parametrize(
    ("name", "version", "message", "hint"),
    [
        ("qemuu", None, "suite trixie has no source package 'qemuu'", ""),
        ("qemu", "1:9-1", "suite trixie has no source package qemu 1:9-1", "it has: 1:10.0-2"),
    ],
)
def test_a_source_package_that_the_suite_does_not_have_is_named(
    tmp_path: Path, archive: Archive, name: str, version: str | None, message: str, hint: str
) -> None:
    archive.add_source("qemu", "1:10.0-2", {"qemu_10.0-2.dsc": DSC})
    archive.publish()

    with pytest.raises(ImageError) as caught:
        suite(tmp_path / "cache").fetch_source(name, version, tmp_path)

    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_source_that_is_listed_and_not_there_is_named(tmp_path: Path, archive: Archive) -> None:
    archive.add_source("qemu", "1:11.1-1", {"qemu_11.1-1.dsc": DSC, "qemu_11.1.tar.xz": b"tar"})
    archive.publish()
    archive.lacking.add("qemu_11.1.tar.xz")

    with pytest.raises(ImageError) as caught:
        suite(tmp_path / "cache").fetch_source("qemu", None, tmp_path)

    assert "qemu_11.1.tar.xz is in the index, and the mirror answers: 404" in caught.value.message
