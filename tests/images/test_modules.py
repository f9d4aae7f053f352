"""Module order, from a small copy of what depmod writes."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.modules import ModuleTree
from harness.images.staging import loading_list

DEP = """\
kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz
kernel/lib/libcrc32c.ko.xz:
kernel/crypto/crc32c_generic.ko.xz:
kernel/arch/x86/crypto/crc32c-intel.ko.xz:
kernel/drivers/net/virtio_net.ko.xz: \
kernel/drivers/net/net_failover.ko.xz kernel/net/core/failover.ko.xz
kernel/drivers/net/net_failover.ko.xz: kernel/net/core/failover.ko.xz
kernel/net/core/failover.ko.xz:
kernel/loop/a.ko: kernel/loop/b.ko
kernel/loop/b.ko: kernel/loop/a.ko
"""
SOFTDEP = """\
# Soft dependencies extracted from modules themselves.
softdep libcrc32c pre: crc32c post: failover
softdep a pre: nowhere virtio
"""
ALIAS = """\
# Aliases extracted from modules themselves.
alias crc32c crc32c_intel
alias crc32c crc32c_generic
alias pci:v00008086d* e1000e
"""


@pytest.fixture
def tree(tmp_path: Path) -> ModuleTree:
    (tmp_path / "modules.dep").write_text(DEP)
    (tmp_path / "modules.softdep").write_text(SOFTDEP)
    (tmp_path / "modules.alias").write_text(ALIAS)
    (tmp_path / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\n")
    return ModuleTree.read(tmp_path)


def names(tree: ModuleTree, *wanted: str) -> list[str]:
    return [module.name for module in tree.order(wanted)]


def test_a_module_with_a_question_mark_is_wanted_only_of_kernels_that_have_it(
    tree: ModuleTree,
) -> None:
    assert names(tree, "crc32c_generic?", "nowhere?") == ["crc32c_generic"]
    assert tree.order(["crc32c-generic?"])[0].optional


def test_what_a_module_needs_is_loaded_before_it(tree: ModuleTree) -> None:
    assert names(tree, "virtio_net") == ["failover", "net_failover", "virtio_net"]


def test_softdeps_of_a_dependency_come_first_and_are_optional(tree: ModuleTree) -> None:
    order = tree.order(["erofs"])

    assert [(module.name, module.optional) for module in order] == [
        ("crc32c_intel", True),
        ("crc32c_generic", True),
        ("libcrc32c", False),
        ("erofs", False),
    ]


def test_a_module_wanted_by_name_is_not_optional(tree: ModuleTree) -> None:
    for wanted in (("erofs", "crc32c_generic"), ("crc32c_generic", "erofs")):
        order = {module.name: module.optional for module in tree.order(wanted)}

        assert order["crc32c_generic"] is False
        assert order["crc32c_intel"] is True


def test_each_module_is_loaded_once(tree: ModuleTree) -> None:
    assert names(tree, "failover", "virtio_net", "net_failover", "virtio-net") == [
        "failover",
        "net_failover",
        "virtio_net",
    ]


def test_builtin_modules_are_left_out(tree: ModuleTree) -> None:
    assert names(tree, "virtio") == []


def test_a_circle_of_dependencies_ends(tree: ModuleTree) -> None:
    assert sorted(names(tree, "a")) == ["a", "b"]


def test_dashes_and_underscores_are_the_same(tree: ModuleTree) -> None:
    assert names(tree, "crc32c-intel") == names(tree, "crc32c_intel") == ["crc32c_intel"]


def test_an_unknown_module_is_named_with_the_nearest(tree: ModuleTree) -> None:
    with pytest.raises(ImageError) as caught:
        tree.order(["virtio_nett"])

    assert "has no module 'virtio_nett'" in caught.value.message
    assert caught.value.hint == "did you mean 'virtio_net'?"


def test_a_directory_without_modules_dep_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"modules\.dep"):
        ModuleTree.read(tmp_path / "none")


def test_content_is_decompressed(tree: ModuleTree) -> None:
    (module,) = tree.order(["failover"])
    path = tree.top / module.path
    path.parent.mkdir(parents=True)
    path.write_bytes(lzma.compress(b"\x7fELF module"))

    assert tree.content(module) == b"\x7fELF module"
    path.write_bytes(b"cut off")
    with pytest.raises(ImageError, match="kernel module failover"):
        tree.content(module)


def test_the_loading_list_marks_what_may_refuse(tree: ModuleTree) -> None:
    lines = loading_list("6.1", tree.order(["erofs"])).splitlines()

    assert lines[0] == "-/usr/lib/modules/6.1/kernel/arch/x86/crypto/crc32c-intel.ko"
    assert lines[-1] == "/usr/lib/modules/6.1/kernel/fs/erofs/erofs.ko"
