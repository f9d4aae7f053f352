"""A user's own QEMU and kernel: what is taken from where, and what cannot be taken.

The QEMU is a small program that answers as QEMU does, compiled here and run through a loader
and libc that were copied with it; the modules are small objects that depmod and strip read.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import HarnessError, ImageError, InputError
from harness.images import Store
from harness.images.libraries import LIBRARY_DIR, LOADER
from tests.images.test_bzimage import KERNEL, bzimage

QEMU = r"""
#include <stdio.h>
#include <string.h>
int main(int argc, char **argv)
{
    char line[80], place[4096] = "", *slash;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--version"))
            return puts("QEMU emulator version 10.0.50 (v10.0-rc1-dirty)") < 0;
        if (!strcmp(argv[i], "-device") && argv[i + 1] && !strcmp(argv[i + 1], "help"))
            return puts("name \"igb\", bus PCI\nname \"max-x86_64-cpu\"") < 0;
        if (!strcmp(argv[i], "-L") && argv[i + 1] && !strcmp(argv[i + 1], "help")) {
            strncpy(place, argv[0], sizeof place - 32);
            slash = strrchr(place, '/');
            strcpy(slash ? slash : place, "/bundle");
            return puts(place) < 0;
        }
    }
    return fgets(line, sizeof line, stdin) == NULL || strcmp(line, "quit\n");
}
"""
RELEASE = "6.13.0-mine+"


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("qemu") / "qemu-system-x86_64"
    subprocess.run(["gcc", "-x", "c", "-o", path, "-"], input=QEMU, text=True, check=True)
    return path


@pytest.fixture
def build_tree(tmp_path: Path, program: Path) -> Path:
    top = tmp_path / "qemu/build"
    (top / "bundle").mkdir(parents=True)
    shutil.copy(program, top)
    (tmp_path / "bios-256k.bin").write_bytes(b"bios")
    # A build tree has links to the source's firmware.
    (top / "bundle/bios-256k.bin").symlink_to(tmp_path / "bios-256k.bin")
    (top / "bundle/openbios-sparc32.bin").write_bytes(b"foreign")
    (top / "bundle/edk2-x86_64-code.fd").write_bytes(b"large")
    return top


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "images").mkdir()
    return Store(tmp_path / "cache", recipes=tmp_path / "images")


def test_a_build_tree_becomes_a_toolchain_with_its_own_loader_and_firmware(
    store: Store, build_tree: Path
) -> None:
    qemu = store.toolchain(f"path:{build_tree}")

    assert (qemu.version, qemu.devices) == ("10.0.50", {"igb"})
    assert (qemu.root / LOADER).is_file()
    assert (qemu.root / LIBRARY_DIR / "libc.so.6").is_file()
    (data,) = qemu.data
    assert [path.name for path in (qemu.root / data).iterdir()] == ["bios-256k.bin"]
    said = subprocess.run([*qemu.argv(), "--version"], capture_output=True, text=True, check=True)
    assert "10.0.50" in said.stdout


def test_a_toolchain_of_ones_own_does_not_need_its_build_tree_any_more(
    store: Store, build_tree: Path
) -> None:
    qemu = store.toolchain(str(build_tree))
    shutil.rmtree(build_tree)

    maps = subprocess.run(
        [*qemu.argv(), "--version"], env={"LD_DEBUG": "libs"}, capture_output=True, text=True
    )

    assert "10.0.50" in maps.stdout
    loaded = [line for line in maps.stderr.splitlines() if "calling init" in line]
    assert loaded
    assert all(str(qemu.root) in line for line in loaded)


@pytest.mark.parametrize("bin_directory", ["bin", "usr/bin"])
def test_an_installed_prefix_becomes_a_toolchain(
    tmp_path: Path, store: Store, program: Path, bin_directory: str
) -> None:
    prefix = tmp_path / "prefix"
    share = (prefix / bin_directory).parent / "share/qemu"
    for directory in (prefix / bin_directory, share):
        directory.mkdir(parents=True)
    shutil.copy(program, prefix / bin_directory)
    (share / "bios-256k.bin").write_bytes(b"bios")

    qemu = store.toolchain(f"{prefix}/")

    assert (qemu.root / qemu.data[0] / "bios-256k.bin").read_bytes() == b"bios"


def test_the_same_content_is_found_again_and_a_rebuilt_qemu_is_not(
    store: Store, build_tree: Path
) -> None:
    first = store.toolchain(str(build_tree))
    os.utime(build_tree / "qemu-system-x86_64")
    lines: list[str] = []
    assert store.toolchain(str(build_tree), progress=lines.append) == first
    assert lines == []

    (build_tree / "bundle/bios-256k.bin").unlink()
    (build_tree / "bundle/bios-256k.bin").write_bytes(b"rebuilt")

    assert store.toolchain(str(build_tree)).digest != first.digest


def _nothing(top: Path) -> None:
    (top / "qemu-system-x86_64").unlink()


def _not_built(top: Path) -> None:
    (top / "qemu-system-x86_64").unlink()
    (top / "build.ninja").write_text("")


def _above(top: Path) -> None:
    (top / "build").mkdir()
    (top / "qemu-system-x86_64").rename(top / "build/qemu-system-x86_64")


def _no_firmware(top: Path) -> None:
    (top / "bundle/bios-256k.bin").unlink()


def _script(top: Path) -> None:
    (top / "qemu-system-x86_64").write_text("#!/bin/sh\n")


def _static(top: Path) -> None:
    command = ["gcc", "-static", "-x", "c", "-o", str(top / "qemu-system-x86_64"), "-"]
    subprocess.run(command, input=QEMU, text=True, check=True)


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (_nothing, "there is no qemu-system-x86_64 in it", "wanted a build tree"),
        (_not_built, "there is no qemu-system-x86_64 in it", "has not built it: `ninja qemu-"),
        (_above, "there is no qemu-system-x86_64 in it", "did you mean "),
        (_no_firmware, "there is no bios-256k.bin where it looks for firmware", "`data: ["),
        (_script, "is no dynamically linked program", "without --static"),
        (_static, "is no dynamically linked program", "without --static"),
    ],
)
def test_a_directory_without_a_qemu_that_can_be_taken_is_told(
    store: Store, build_tree: Path, change: object, message: str, hint: str
) -> None:
    assert callable(change)
    change(build_tree)

    with pytest.raises(InputError) as caught:
        store.toolchain(str(build_tree))

    assert str(build_tree) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_qemu_that_does_not_run_is_told_with_its_words(
    tmp_path: Path, store: Store, build_tree: Path
) -> None:
    source = QEMU.replace("return fgets", 'fputs("cannot load bios\\n", stderr); return 1 || fgets')
    command = ["gcc", "-x", "c", "-o", str(build_tree / "qemu-system-x86_64"), "-"]
    subprocess.run(command, input=source, text=True, check=True)

    with pytest.raises(ImageError) as caught:
        store.toolchain(str(build_tree))

    assert ": a machine: " in caught.value.message
    assert caught.value.message.endswith("ended with status 1")
    assert caught.value.evidence == ("cannot load bios",)
    assert list((store.root / "toolchain").iterdir()) == []


def test_firmware_can_be_named_in_a_recipe(tmp_path: Path, store: Store, build_tree: Path) -> None:
    (build_tree / "bundle/bios-256k.bin").unlink()
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware/bios-256k.bin").write_bytes(b"other")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("kind: toolchain\npath: qemu/build\ndata: [firmware]\n")

    qemu = store.toolchain(str(recipe))

    assert (qemu.root / qemu.data[0] / "bios-256k.bin").read_bytes() == b"other"


# -- kernels -------------------------------------------------------------------------------


def module(path: Path, release: str = RELEASE) -> None:
    """A module file of that release, as far as depmod, strip and the store look."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.stem.replace("-", "_")
    source = "".join(
        f'static const char m{n}[] __attribute__((section(".modinfo"), used)) = "{text}";\n'
        for n, text in enumerate(
            [f"name={name}", "depends=", f"vermagic={release} SMP mod_unload ", "license=GPL"]
        )
    )
    subprocess.run(
        ["gcc", "-g", "-x", "c", "-c", "-o", path, "-"], input=source, text=True, check=True
    )


def image(path: Path, release: str = RELEASE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bzimage(gzip.compress(KERNEL), release=release))


@pytest.fixture
def kernel_tree(tmp_path: Path) -> Path:
    top = tmp_path / "linux"
    image(top / "arch/x86/boot/bzImage")
    module(top / "drivers/net/net_failover.ko")
    module(top / "net/core/failover.ko")
    (top / "modules.builtin").write_text("kernel/drivers/virtio/virtio.ko\n")
    (top / ".config").write_text("")
    return top


def test_a_build_tree_becomes_a_kernel_with_its_modules(store: Store, kernel_tree: Path) -> None:
    kernel = store.kernel(str(kernel_tree))

    assert (kernel.release, kernel.version) == (RELEASE, RELEASE)
    dependencies = (kernel.modules / "modules.dep").read_text()
    assert "kernel/drivers/net/net_failover.ko:" in dependencies
    taken = kernel.modules / "kernel/drivers/net/net_failover.ko"
    assert taken.stat().st_size < (kernel_tree / "drivers/net/net_failover.ko").stat().st_size
    # This kernel cannot be started as ELF: QEMU gets the bzImage.
    assert kernel.vmlinux.read_bytes() == kernel.vmlinuz.read_bytes()


@pytest.mark.parametrize("where", ["", "lib/modules/", f"lib/modules/{RELEASE}"])
def test_an_image_and_installed_modules_become_a_kernel(
    tmp_path: Path, store: Store, where: str
) -> None:
    image(tmp_path / "bzImage")
    module(tmp_path / f"installed/lib/modules/{RELEASE}/kernel/net/core/failover.ko")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"kind: kernel\nimage: bzImage\nmodules: installed/{where}\n")

    kernel = store.kernel(str(recipe))

    assert "kernel/net/core/failover.ko:" in (kernel.modules / "modules.dep").read_text()


def _no_image(top: Path) -> None:
    (top / "arch/x86/boot/bzImage").unlink()


def _not_a_kernel(top: Path) -> None:
    _no_image(top)
    (top / ".config").unlink()


def _odd_image(top: Path) -> None:
    (top / "arch/x86/boot/bzImage").write_bytes(b"MZ" * 4096)


def _no_modules(top: Path) -> None:
    for path in [*top.rglob("*.ko"), top / "modules.builtin"]:
        path.unlink()


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (_no_image, "there is no arch/x86/boot/bzImage in it", "`make bzImage modules` there"),
        (_not_a_kernel, "there is no arch/x86/boot/bzImage in it", "wanted the build tree of a"),
        (_odd_image, "not a bzImage", ""),
        (_no_modules, "holds no modules (.ko) and no modules.builtin", "modules_install"),
    ],
)
def test_a_tree_without_a_kernel_that_can_be_taken_is_told(
    store: Store, kernel_tree: Path, change: object, message: str, hint: str
) -> None:
    assert callable(change)
    change(kernel_tree)

    with pytest.raises(HarnessError) as caught:
        store.kernel(str(kernel_tree))

    assert str(kernel_tree) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_modules_of_another_release_are_refused(tmp_path: Path, store: Store) -> None:
    image(tmp_path / "bzImage")
    module(tmp_path / "installed/lib/modules/6.12.0/kernel/a.ko")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("kind: kernel\nimage: bzImage\nmodules: installed\n")

    with pytest.raises(InputError) as caught:
        store.kernel(str(recipe))

    assert caught.value.message.endswith(
        f"has the modules of 6.12.0 (found), the image is of {RELEASE}"
    )


# -- some modules replaced -----------------------------------------------------------------


def test_a_replaced_module_is_in_the_kernel_and_the_base_is_as_it_was(
    tmp_path: Path, store: Store, kernel_tree: Path
) -> None:
    base = store.kernel(str(kernel_tree))
    before = (base.modules / "kernel/drivers/net/net_failover.ko").read_bytes()
    module(tmp_path / "new/net_failover.ko")
    with (tmp_path / "new/net_failover.ko").open("ab") as file:
        file.write(b"~Module signature appended~\n")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"kind: kernel\nbase: {kernel_tree}\nreplace: [new/net_failover.ko]\n")
    (tmp_path / "new/extra.ko").write_bytes((tmp_path / "new/net_failover.ko").read_bytes())

    changed = store.kernel(str(recipe))

    assert changed.release == base.release
    assert changed.digest != base.digest
    assert (base.modules / "kernel/drivers/net/net_failover.ko").read_bytes() == before
    assert store.damage(next(e for e in store.list() if e.path == base.vmlinux.parent)) == ()
    assert changed.vmlinux.samefile(base.vmlinux)
    assert "kernel/net/core/failover.ko:" in (changed.modules / "modules.dep").read_text()


def test_a_module_built_for_another_kernel_is_refused(
    tmp_path: Path, store: Store, kernel_tree: Path
) -> None:
    module(tmp_path / "net_failover.ko", "6.1.0-other")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"kind: kernel\nbase: {kernel_tree}\nreplace: [net_failover.ko]\n")

    with pytest.raises(InputError) as caught:
        store.kernel(str(recipe))

    assert "net_failover.ko is built for '6.1.0-other SMP mod_unload' (found), kernel " in (
        caught.value.message
    )
    assert caught.value.message.endswith(f"is '{RELEASE} SMP mod_unload'")
    assert caught.value.hint == f"build it against linux-headers-{RELEASE}"


def test_a_file_that_is_no_module_is_refused(
    tmp_path: Path, store: Store, kernel_tree: Path
) -> None:
    (tmp_path / "net_failover.ko").write_text("no module")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"kind: kernel\nbase: {kernel_tree}\nreplace: [net_failover.ko]\n")

    with pytest.raises(ImageError, match="is no kernel module"):
        store.kernel(str(recipe))


def test_a_module_that_is_built_in_cannot_be_replaced(
    tmp_path: Path, store: Store, kernel_tree: Path
) -> None:
    module(tmp_path / "virtio.ko")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"kind: kernel\nbase: {kernel_tree}\nreplace: [virtio.ko]\n")

    with pytest.raises(InputError, match="virtio is built into kernel"):
        store.kernel(str(recipe))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("net_failover", "include/net/failover.h", "a patch changes include/net/failover.h, and"),
        ("net_failover", "drivers/net/net_failover.c", "is no packaged kernel"),
        ("net_failovr", "drivers/net/net_failover.c", "has no module 'net_failovr'"),
        ("virtio", "drivers/virtio/virtio.c", "is built into kernel"),
    ],
)
def test_a_module_that_cannot_be_patched_is_told(
    tmp_path: Path, store: Store, kernel_tree: Path, name: str, changes: str, message: str
) -> None:
    (tmp_path / "a.patch").write_text(f"--- a/{changes}\n+++ b/{changes}\n@@ -1 +1 @@\n-a\n+b\n")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        f"kind: kernel\nbase: {kernel_tree}\nmodules: {{{name}: {{patches: a.patch}}}}\n"
    )

    with pytest.raises(HarnessError) as caught:
        store.kernel(str(recipe))

    assert message in caught.value.message
    assert [p.name for p in (store.root / "kernel").iterdir() if p.name.startswith(".")] == []
