"""What patches change, as far as it decides how a source is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.images.patches import keeps_files

CHANGED = """\
--- a/hw/net/virtio-net.c
+++ b/hw/net/virtio-net.c\t2026-11-21 10:00:00
@@ -1,2 +1 @@
 kept
-gone
"""
ADDED = """\
--- a/hw/net/new.c\t1970-01-01 00:00:00
+++ b/hw/net/new.c
@@ -0,0 +1 @@
+text
"""


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        (CHANGED, True),
        (CHANGED.replace("virtio-net.c", "virtio-net.h"), True),
        (CHANGED + CHANGED.replace("hw/net/virtio-net.c", "meson.build"), False),
        (CHANGED.replace("hw/net/virtio-net.c", "configure"), False),
        (CHANGED + ADDED, False),
        (CHANGED.replace("-1,2 +1", "-1,2 +0,0"), False),
        ("diff --git a/a.c b/a.c\nnew file mode 100644\n", False),
        ("diff --git a/a.c b/b.c\nrename from a.c\nrename to b.c\n", False),
    ],
)
def test_a_patch_keeps_files_if_it_changes_such_alone_and_none_comes_or_goes(
    tmp_path: Path, text: str, keeps: bool
) -> None:
    (tmp_path / "one.patch").write_text(CHANGED)
    (tmp_path / "other.patch").write_text(text)

    found = keeps_files([tmp_path / "one.patch", tmp_path / "other.patch"], (".c", ".h"))

    assert found is keeps
