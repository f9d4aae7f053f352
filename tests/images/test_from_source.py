"""QEMU and kernel modules from Debian's sources with patches, and every shipped recipe; by the
archive of this machine, into the store that labs use."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images import Store
from harness.images.modinfo import modinfo, module_content

MODULE = "kernel/drivers/net/net_failover.ko"
# Frames leave by the standby although the primary is up.
ALWAYS_STANDBY = """\
--- a/drivers/net/net_failover.c
+++ b/drivers/net/net_failover.c
@@ -101,7 +101,7 @@
 \tstruct net_device *xmit_dev;

 \t/* Try xmit via primary netdev followed by standby netdev */
-\txmit_dev = rcu_dereference_bh(nfo_info->primary_dev);
+\txmit_dev = NULL;
 \tif (!xmit_dev || !net_failover_xmit_ready(xmit_dev)) {
 \t\txmit_dev = rcu_dereference_bh(nfo_info->standby_dev);
 \t\tif (!xmit_dev || !net_failover_xmit_ready(xmit_dev))
"""
UNFIT = ALWAYS_STANDBY.replace("Try xmit via primary", "Something else stands here")
# --version says that it is the patched one.
ANOTHER_NAME = """\
--- a/system/vl.c
+++ b/system/vl.c
@@ -867,5 +867,5 @@
 static void version(void)
 {
-    printf("QEMU emulator version " QEMU_FULL_VERSION "\\n"
+    printf("QEMU emulator version " QEMU_FULL_VERSION " with a patch\\n"
            QEMU_COPYRIGHT "\\n");
 }
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "patches").mkdir()
    return tmp_path / "mine.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("base", ["kernel", "kernel-6.1", "kernel-7"])
def test_a_module_is_built_with_a_patch_and_fits_its_kernel(recipe: Path, base: str) -> None:
    (recipe.parent / "patches/defect.patch").write_text(ALWAYS_STANDBY)
    recipe.write_text(
        f"kind: kernel\nbase: {base}\nmodules: {{net_failover: {{patches: patches}}}}\n"
    )
    store = Store()

    stock, patched = store.kernel(base), store.kernel(str(recipe))

    ours = (patched.modules / MODULE).read_bytes()
    (theirs,) = stock.modules.glob(f"{MODULE}*")
    assert modinfo(ours, "ours")["vermagic"] == modinfo(
        module_content(theirs, "theirs"), "theirs"
    )["vermagic"]  # fmt: skip
    assert patched.release == stock.release
    assert patched.detail == "net_failover replaced"
    assert store.guest("guest", patched).digest != store.guest("guest", stock).digest


@pytest.mark.slow
def test_a_patch_that_does_not_apply_is_named_with_what_patch_says(recipe: Path) -> None:
    (recipe.parent / "patches/unfit.patch").write_text(UNFIT)
    recipe.write_text("kind: kernel\nbase: kernel\nmodules: {net_failover: {patches: patches}}\n")

    with pytest.raises(ImageError) as caught:
        Store().kernel(str(recipe))

    assert caught.value.message.endswith("patches/unfit.patch does not apply to tree")
    assert any("hunk" in line.lower() for line in caught.value.evidence)


@pytest.mark.slow
def test_a_patch_that_does_not_compile_is_told_with_the_compilers_words(recipe: Path) -> None:
    (recipe.parent / "patches/broken.patch").write_text(ALWAYS_STANDBY.replace("NULL;", "nothing;"))
    recipe.write_text("kind: kernel\nbase: kernel\nmodules: {net_failover: {patches: patches}}\n")
    store = Store()

    with pytest.raises(ImageError) as caught:
        store.kernel(str(recipe))

    assert any("nothing" in line and "undeclared" in line for line in caught.value.evidence)
    assert not list((store.root / "kernel").glob(".building-*"))


@pytest.mark.slow
def test_a_qemu_is_built_from_source_with_a_patch(recipe: Path) -> None:
    (recipe.parent / "patches/name.patch").write_text(ANOTHER_NAME)
    recipe.write_text("kind: toolchain\nsuite: trixie\npatches: patches\n")

    qemu = Store().toolchain(str(recipe))

    said = subprocess.run([*qemu.argv(), "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[0].endswith("with a patch")
    assert qemu.version.startswith("10.0.")
    assert "name.patch" in qemu.detail
    assert {"igb", "e1000e", "vfio-pci", "virtio-net-pci"} <= qemu.devices


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begins"), [("qemu-7.2", "7.2."), ("qemu-10.0", "10.0."), ("qemu-11", "11.")]
)
def test_shipped_qemus_are_of_the_version_in_their_names(name: str, begins: str) -> None:
    qemu = Store().toolchain(name)

    assert qemu.version.startswith(begins)
    assert {"e1000e", "virtio-net-pci"} <= qemu.devices


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "begins"), [("kernel-6.1", "6.1."), ("kernel-6.12", "6.12."), ("kernel-7", "7.")]
)
def test_guests_and_hosts_can_be_made_for_every_shipped_kernel(name: str, begins: str) -> None:
    store = Store()
    kernel = store.kernel(name)

    assert kernel.release.startswith(begins)
    assert store.guest("guest", kernel).initramfs.is_file()
    assert store.host("host", kernel).root_erofs.is_file()


@pytest.mark.lab
def test_a_qemu_in_a_prefix_outside_the_store_is_taken_with_all_it_needs(tmp_path: Path) -> None:
    store = Store()
    stock = store.toolchain("qemu")
    shutil.copytree(stock.root, tmp_path / "prefix", symlinks=True)

    own = Store(tmp_path / "cache").toolchain(f"{tmp_path}/prefix")
    shutil.rmtree(tmp_path / "prefix")

    assert (own.version, own.devices) == (stock.version, stock.devices)
    said = subprocess.run([*own.argv(), "-L", "help"], capture_output=True, text=True, check=True)
    assert str(own.root) in said.stdout
    assert Store(tmp_path / "cache").packed(own).is_file()
