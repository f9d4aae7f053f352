"""Recipes: what is shipped is right, and what is wrong is told with its place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import InputError, ProblemsError
from harness.images.recipe import find_recipe, load_recipe, patch_files
from harness.images.store import default_recipes

KERNEL = "kind: kernel\nsuite: trixie\npackage: linux-image-amd64\n"


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ProblemsError) as caught:
        load_recipe(path)
    return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "toolchain") for name in ("qemu", "qemu-7.2", "qemu-10.0", "qemu-11")),
        *((name, "kernel") for name in ("kernel", "kernel-6.1", "kernel-6.12", "kernel-7")),
        ("guest", "guest"),
        ("host", "host"),
    ],
)
def test_the_shipped_recipes_are_right(name: str, kind: str) -> None:
    assert load_recipe(find_recipe(default_recipes(), name)).kind == kind


@pytest.mark.parametrize(
    "script", ["guest/init", "guest/shutdown", "guest/profile", "host/init", "host/boot"]
)
def test_the_shipped_scripts_are_shell(script: str) -> None:
    path = default_recipes() / script

    subprocess.run(["sh", "-n", str(path)], check=True)
    assert bool(path.stat().st_mode & 0o100) == (path.name != "profile")


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", "r.yaml", "says nothing"),
        ("kind: kernle\n", "r.yaml:1:7 kind", "kernle"),
        ("suite: trixie\n", "r.yaml", "kind"),
        (KERNEL + "pakage: x\n", "r.yaml:4:1 pakage", "package"),
        ("kind: kernel\n", "r.yaml", "suite"),
        ("kind: guest\nsuite: trixie\nprograms: [a]\nload: []\n", "r.yaml", "packages"),
        (KERNEL + "version: newest\n", "r.yaml:4:10 version", "1:10.0.2+ds-2"),
        (KERNEL + "patches: p\n", "r.yaml:4:1 patches", "a whole kernel is not built from source"),
        (
            "kind: kernel\nsuite: trixie\npath: /\n",
            "r.yaml:2:1 suite",
            "does not go with `path:`",
        ),
        ("kind: kernel\npath: no/tree\n", "r.yaml:2:7 path", "'no/tree': there is no "),
        ("kind: kernel\nimage: bzImage\n", "r.yaml", "both `image:` and `modules:`"),
        ("kind: kernel\nbase: kernel\n", "r.yaml", "`modules:` to patch or `replace:`"),
        ("kind: kernel\nbase: kernel\nreplace: [no.ko]\n", "r.yaml:3:11 replace[0]", "no.ko"),
        (
            "kind: kernel\nbase: kernel\nmodules: {net_failover: {patches: nowhere}}\n",
            "r.yaml:3:35 modules.net_failover.patches",
            "there is no ",
        ),
        ("kind: toolchain\npath: /\nsuite: sid\n", "r.yaml:3:1 suite", "does not go with `path:`"),
        (
            "kind: toolchain\nsuite: sid\npatches: nowhere\n",
            "r.yaml:3:10 patches",
            "'nowhere': there is no ",
        ),
        (
            "kind: toolchain\nsuite: sid\nsource: qemu\nprograms: [a]\n",
            "r.yaml:4:1 programs",
            "does not go with `source:`",
        ),
        (KERNEL.replace("trixie", "Trixie!"), "r.yaml:2:8 suite", "trixie-backports"),
        (KERNEL.replace("linux-image-amd64", "Linux image"), "r.yaml:3:10 package", "lower-case"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    (told,) = problems(tmp_path, text)

    assert told.startswith(place)
    assert message in told


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "kind: toolchain\nsuite: 5\npackages: []\nprograms: [/bin/qemu, ../qemu, a]\nmore: 1\n",
    )

    assert [line.partition(" ")[2].partition(":")[0] for line in told] == [
        "suite",
        "packages",
        "programs[0]",
        "programs[1]",
        "more",
    ]


def test_a_file_that_is_not_beside_the_recipe_is_a_problem(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "kind: guest\nsuite: trixie\npackages: [busybox-static]\nprograms: [usr/bin/busybox]\n"
        "load: []\nfiles: {init: guest/init}\n",
    )

    assert told == ["r.yaml: needs guest/init, and there is no such file beside it"]


def test_patches_come_in_the_order_of_series_or_sorted(tmp_path: Path) -> None:
    for name in ("b.patch", "a.patch", "c.diff", "notes.txt"):
        (tmp_path / name).write_text(name)
    assert [path.name for path in patch_files(tmp_path)] == ["a.patch", "b.patch", "c.diff"]

    (tmp_path / "series").write_text("# mine\nc.diff\nb.patch -p1 # why\n\n")
    assert [path.name for path in patch_files(tmp_path)] == ["c.diff", "b.patch"]
    assert patch_files(tmp_path / "a.patch") == (tmp_path / "a.patch",)


def test_a_directory_without_patches_or_with_one_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no patch in it"):
        patch_files(tmp_path)

    (tmp_path / "series").write_text("a.patch\n")
    with pytest.raises(InputError, match=r"names a\.patch, and there is no "):
        patch_files(tmp_path)


@pytest.mark.parametrize("name", ["kernle", "../kernel", ""])
def test_an_unknown_recipe_is_told_with_those_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "kernel.yaml").write_text(KERNEL)

    with pytest.raises(InputError) as caught:
        find_recipe(tmp_path, name)

    assert caught.value.hint == "recipes there: kernel"
