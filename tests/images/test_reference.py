"""What a user may write where an image is named, and what is told of what means nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError, ProblemsError
from harness.images import Store
from harness.images.recipe import ChangedKernelRecipe, OwnKernelRecipe, OwnToolchainRecipe


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a build tree, a recipe, a module."""
    top = tmp_path / "here"
    (top / "build").mkdir(parents=True)
    (top / "mine.yaml").write_text("kind: toolchain\npath: build\n")
    (top / "net_failover.ko").write_text("")
    (top / "notes.txt").write_text("")
    monkeypatch.chdir(top)
    monkeypatch.setenv("HOME", str(top))
    return top


@pytest.fixture
def store(tmp_path: Path) -> Store:
    recipes = tmp_path / "images"
    recipes.mkdir()
    (recipes / "kernel.yaml").write_text("kind: kernel\nsuite: trixie\n")
    (recipes / "qemu.yaml").write_text("kind: toolchain\nsuite: trixie\n")
    return Store(tmp_path / "cache", recipes=recipes)


def test_a_name_is_a_shipped_recipe(store: Store, here: Path) -> None:
    chosen = store.resolve("qemu", "toolchain")

    assert (chosen.text, chosen.name, chosen.origin) == ("qemu", "qemu", "recipe qemu")


@pytest.mark.parametrize("text", ["./mine.yaml", "~/mine.yaml", "path:mine.yaml"])
def test_a_recipe_file_is_found_from_the_working_directory(
    store: Store, here: Path, text: str
) -> None:
    chosen = store.resolve(text, "toolchain")

    assert (chosen.text, chosen.name) == (f"{here}/mine.yaml", "mine")
    assert chosen.beside == here


@pytest.mark.parametrize("text", ["path:build", "./build", "~/build", "build/", "path:~/build"])
def test_a_directory_is_a_users_own_tree(store: Store, here: Path, text: str) -> None:
    chosen = store.resolve(text, "toolchain")

    assert isinstance(chosen.recipe, OwnToolchainRecipe)
    assert chosen.text == f"path:{here}/build"
    # What was resolved means the same from anywhere.
    assert store.resolve(chosen.text, "toolchain", beside=Path("/")) == chosen


def test_a_directory_is_a_kernel_where_a_kernel_is_wanted(store: Store, here: Path) -> None:
    chosen = store.resolve("./build", "kernel")

    assert isinstance(chosen.recipe, OwnKernelRecipe)
    assert chosen.recipe.path == f"{here}/build"


def test_a_directory_is_what_it_looks_like_where_anything_is_wanted(
    store: Store, here: Path
) -> None:
    (here / "linux/arch/x86/boot").mkdir(parents=True)

    assert store.resolve("./build").recipe.kind == "toolchain"
    assert store.resolve("./linux").recipe.kind == "kernel"


def test_a_reference_in_a_file_is_relative_to_it(store: Store, here: Path) -> None:
    assert store.resolve("./build", beside=here.parent / "here").text == f"path:{here}/build"


def test_a_kernel_with_a_module_file_in_place_of_its_own(store: Store, here: Path) -> None:
    chosen = store.resolve("kernel+net_failover.ko", "kernel")

    assert isinstance(chosen.recipe, ChangedKernelRecipe)
    assert chosen.recipe.base == "kernel"
    assert chosen.recipe.replace == (f"{here}/net_failover.ko",)
    assert chosen.name == "kernel+net_failover"
    assert store.resolve(chosen.text, "kernel", beside=Path("/")).recipe == chosen.recipe


def test_names_of_directories_are_fit_for_files_and_differ(store: Store, here: Path) -> None:
    for name in ("a b, c/qemu", "a b; c/qemu"):
        (here / name / "build").mkdir(parents=True)
    names = {store.resolve(f"./{name}/build").name for name in ("a b, c/qemu", "a b; c/qemu")}
    (here / "a b, c/build").mkdir()
    odd = store.resolve("./a b, c/build").name

    assert names == {"qemu-build"}
    assert odd.startswith("a-b-c-build-")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("qemuu", "there is no image recipe 'qemuu' in ", "recipes there: kernel, qemu; or give"),
        ("build", "there is no image recipe 'build'", "did you mean what is here? path:build"),
        ("./nothing", "./nothing: there is no ", "wanted a recipe's name, a recipe file"),
        ("./notes.txt", "is neither a recipe (.yaml) nor a directory", "the build tree or prefix"),
        ("kernel+no.ko", "kernel+no.ko: there is no module file ", ""),
        ("kernel", "is of kind kernel (found), kind toolchain is wanted here", ""),
    ],
)
def test_what_means_nothing_is_told(
    store: Store, here: Path, text: str, message: str, hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        store.resolve(text, "toolchain")

    assert message in caught.value.message
    assert hint in caught.value.hint


def test_what_is_wrong_in_a_recipe_file_is_told_with_its_place(store: Store, here: Path) -> None:
    (here / "mine.yaml").write_text("kind: toolchain\nsuite: trixie\nverison: 1\n")

    with pytest.raises(ProblemsError, match=r"mine\.yaml:3:1 verison: "):
        store.resolve("./mine.yaml")
