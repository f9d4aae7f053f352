"""Library closures, with a program, loader and libc of this machine in a tree of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.libraries import LIBRARY_DIR, LOADER, closure, is_dynamic

SYSTEM_LOADER = Path("/lib64/ld-linux-x86-64.so.2")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("usr/bin", LIBRARY_DIR, "lib64"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(SYSTEM_LOADER, tmp_path / LOADER)
    shutil.copy("/bin/true", tmp_path / "usr/bin/true")
    shutil.copy(Path("/", LIBRARY_DIR, "libc.so.6"), tmp_path / LIBRARY_DIR)
    return tmp_path


def test_the_libraries_of_a_program_are_found_in_its_tree(root: Path) -> None:
    assert closure(root, ["usr/bin/true"]) == (f"{LIBRARY_DIR}/libc.so.6",)


def test_a_library_of_this_machine_is_not_taken_for_one_of_the_tree(root: Path) -> None:
    (root / LIBRARY_DIR / "libc.so.6").unlink()

    with pytest.raises(ImageError, match=r"usr/bin/true: needs libc\.so\.6, which is in none"):
        closure(root, ["usr/bin/true"])


def test_a_program_that_no_package_has_is_named(root: Path) -> None:
    with pytest.raises(ImageError, match="usr/bin/false: is in none of the packages"):
        closure(root, ["usr/bin/false"])


def test_scripts_and_static_programs_need_nothing(root: Path) -> None:
    (root / "usr/bin/script").write_text("#!/bin/sh\n")

    assert closure(root, ["usr/bin/script"]) == ()
    assert not is_dynamic(root / "usr/bin/script")
    assert not is_dynamic(root / LOADER)
    assert is_dynamic(root / "usr/bin/true")
