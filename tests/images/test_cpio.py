"""The initramfs writer, read back by a reader of the format that shares no code with it."""

from __future__ import annotations

import stat
from pathlib import Path

from harness.images.cpio import Initramfs


def read_newc(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """name: (mode, content, device numbers); checks magic, alignment and the trailer."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 110 + fields[11] - 1].decode()
        at += 110 + fields[11]
        at += -at % 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        assert name not in found
        found[name] = (fields[1], data[at : at + fields[6]], (fields[9], fields[10]))
        at += fields[6] + -fields[6] % 4


def test_files_links_devices_and_their_directories_are_read_back() -> None:
    archive = Initramfs()
    archive.add_file("usr/bin/tool", b"12345", executable=True)
    archive.add_file("usr/bin/data", b"")
    archive.add_link("bin", "usr/bin")
    archive.add_char_device("dev/console", 5, 1)

    found = read_newc(archive.content())

    assert list(found) == [
        "usr",
        "usr/bin",
        "usr/bin/tool",
        "usr/bin/data",
        "bin",
        "dev",
        "dev/console",
    ]
    assert found["usr"][0] == stat.S_IFDIR | 0o755
    assert found["usr/bin/tool"][:2] == (stat.S_IFREG | 0o755, b"12345")
    assert found["usr/bin/data"][:2] == (stat.S_IFREG | 0o644, b"")
    assert found["bin"][:2] == (stat.S_IFLNK | 0o777, b"usr/bin")
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))


def test_a_tree_is_added_with_its_links_unfollowed(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/f").write_bytes(b"f")
    (tmp_path / "lib").symlink_to("usr/lib")
    archive = Initramfs()
    archive.add_tree(tmp_path)

    assert set(read_newc(archive.content())) == {"usr", "usr/lib", "usr/lib/f", "lib"}


def test_equal_contents_give_equal_bytes(tmp_path: Path) -> None:
    archives = []
    for order in (("a", "b"), ("b", "a")):
        top = tmp_path / "".join(order)
        top.mkdir()
        for name in order:
            (top / name).write_text(name)
        archive = Initramfs()
        archive.add_tree(top)
        archives.append(archive.content())

    assert archives[0] == archives[1]


def test_the_first_file_of_a_name_stays() -> None:
    archive = Initramfs()
    archive.add_file("f", b"first")
    archive.add_file("f", b"second")

    assert read_newc(archive.content())["f"][1] == b"first"
