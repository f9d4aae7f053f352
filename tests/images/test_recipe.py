"""Recipes: what is shipped is right, and what is wrong is told with its place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import InputError, ProblemsError
from harness.images.recipe import find_recipe, load_recipe
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
    [("qemu", "toolchain"), ("kernel", "kernel"), ("guest", "guest"), ("host", "host")],
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
        ("kind: kernel\nsuite: trixie\n", "r.yaml", "package"),
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


@pytest.mark.parametrize("name", ["kernle", "../kernel", ""])
def test_an_unknown_recipe_is_told_with_those_there_are(tmp_path: Path, name: str) -> None:
    (tmp_path / "kernel.yaml").write_text(KERNEL)

    with pytest.raises(InputError) as caught:
        find_recipe(tmp_path, name)

    assert caught.value.hint == "recipes there: kernel"
