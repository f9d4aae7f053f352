"""The store: digests that cover every input, typed artifacts, packed disks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InputError
from harness.images import GuestImage, Kernel, Store, Toolchain, load_recipe
from harness.images import store as store_module
from harness.images.cache import Cache, Key, Made
from harness.images.recipe import GuestRecipe
from harness.images.store import artifact_digest, default_root

GUEST = """\
kind: guest
suite: trixie
packages: [busybox-static]
programs: [usr/bin/busybox]
load: [virtio_net]
files: {init: init}
"""
EROFS_MAGIC = b"\xe2\xe1\xf5\xe0"


def kernel(digest: str = "11" * 32, top: Path = Path("/nowhere")) -> Kernel:
    return Kernel("kernel", digest, "6.12-1", "6.12", top / "vmlinux", top / "vmlinuz", top / "m")


def qemu(root: Path) -> Toolchain:
    return Toolchain(
        "qemu",
        "22" * 32,
        "10.0",
        root,
        ("usr/bin/qemu-system-x86_64", "usr/bin/qemu-img"),
        ("usr/share/qemu", "usr/share/seabios"),
        frozenset({"igb"}),
    )


@pytest.fixture
def recipes(tmp_path: Path) -> Path:
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "guest.yaml").write_text(GUEST)
    (directory / "init").write_text("#!/bin/sh\n")
    return directory


def digest(recipes: Path, on: Kernel | None = None) -> str:
    return artifact_digest(load_recipe(recipes / "guest.yaml"), recipes, (on or kernel(),))


def test_the_same_inputs_give_the_same_digest(recipes: Path) -> None:
    assert digest(recipes) == digest(recipes)


def test_a_comment_in_the_recipe_changes_nothing(recipes: Path) -> None:
    before = digest(recipes)
    (recipes / "guest.yaml").write_text("# why\n" + GUEST)

    assert digest(recipes) == before


def _recipe(recipes: Path, patch: pytest.MonkeyPatch) -> None:
    (recipes / "guest.yaml").write_text(GUEST.replace("trixie", "sid"))


def _source(recipes: Path, patch: pytest.MonkeyPatch) -> None:
    (recipes / "init").write_text("#!/bin/sh\n:\n")


def _mode(recipes: Path, patch: pytest.MonkeyPatch) -> None:
    (recipes / "init").chmod(0o755)


def _builder(recipes: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(store_module._BUILDERS, GuestRecipe, "another")


@pytest.mark.parametrize("change", [_recipe, _source, _mode, _builder])
def test_the_digest_changes_with_every_input(
    recipes: Path,
    change: Callable[[Path, pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = digest(recipes)

    change(recipes, monkeypatch)

    assert digest(recipes) != before


def test_the_digest_changes_with_the_kernel_it_is_for(recipes: Path) -> None:
    assert digest(recipes, kernel("11" * 32)) != digest(recipes, kernel("12" * 32))


def test_the_name_of_the_kernel_does_not_matter(recipes: Path) -> None:
    assert digest(recipes, replace(kernel(), name="another")) == digest(recipes)


def test_the_digest_changes_when_the_same_recipe_gives_a_newer_kernel(recipes: Path) -> None:
    newer = replace(kernel(), version="6.12-2")

    assert digest(recipes, kernel()) != digest(recipes, newer)


def test_a_finished_artifact_is_given_without_building(tmp_path: Path, recipes: Path) -> None:
    key = Key("guest", "guest", digest(recipes))
    root = tmp_path / "cache"
    Cache(root).obtain(key, _fake_guest, lambda line: None)
    lines: list[str] = []

    image = Store(root, recipes=recipes).guest("guest", kernel(), progress=lines.append)

    assert image.initramfs.read_bytes() == b"initramfs"
    assert image.digest == key.digest
    assert lines == []


def test_a_recipe_of_another_kind_is_refused(tmp_path: Path, recipes: Path) -> None:
    with pytest.raises(InputError, match=r"is of kind guest \(found\), kind kernel is wanted"):
        Store(tmp_path / "cache", recipes=recipes).kernel("guest")


def test_the_root_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HARNESS_CACHE", raising=False)
    assert default_root() == Path("/h/.cache/failover-harness")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert default_root() == Path("/x/failover-harness")
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert Store().root == tmp_path


def test_a_toolchain_is_run_through_its_own_loader_wherever_it_is_mounted() -> None:
    toolchain = qemu(Path("/cache/root"))

    assert toolchain.argv("/lab/qemu") == (
        "/lab/qemu/lib64/ld-linux-x86-64.so.2",
        "--library-path",
        "/lab/qemu/usr/lib/x86_64-linux-gnu",
        "/lab/qemu/usr/bin/qemu-system-x86_64",
        "-L",
        "/lab/qemu/usr/share/qemu",
        "-L",
        "/lab/qemu/usr/share/seabios",
    )
    assert toolchain.argv()[3] == "/cache/root/usr/bin/qemu-system-x86_64"
    assert toolchain.program("qemu-img", "/q")[3:] == ("/q/usr/bin/qemu-img",)


def test_a_disk_is_packed_once_and_is_an_erofs(tmp_path: Path) -> None:
    for name in ("vmlinux", "vmlinuz", "initramfs"):
        (tmp_path / name).write_text(name)
    guest = GuestImage("guest", "33" * 32, "6.12-1", tmp_path / "initramfs")
    store, lines = Store(tmp_path / "cache"), list[str]()

    disk = store.packed(kernel(top=tmp_path), guest, progress=lines.append)
    told = len(lines)

    assert disk.read_bytes()[1024:1028] == EROFS_MAGIC
    assert store.packed(kernel(top=tmp_path), guest, progress=lines.append) == disk
    assert len(lines) == told
    other = store.packed(kernel("12" * 32, tmp_path), guest)
    assert other != disk


def test_a_packed_toolchain_leaves_the_toolchain_as_it_was(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/qemu").write_text("qemu")

    assert Store(tmp_path / "cache").packed(qemu(root)).is_file()

    assert (root / "usr/bin/qemu").read_text() == "qemu"


def _fake_guest(into: Path, report: object) -> Made:
    (into / "initramfs").write_bytes(b"initramfs")
    return Made(version="6.12-1")
