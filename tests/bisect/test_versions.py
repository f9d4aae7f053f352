"""Bisecting a list without git, and the lists that there are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.bisect import Answer, Step, Version, bisect_versions, recipes_between
from harness.errors import InputError
from tests.bisect.repositories import command, environment

RECIPES = ("kernel", "kernel-6.1", "qemu", "qemu-10.0", "qemu-11", "qemu-7.2")


def tried(answers: list[Answer], *, trust: bool = True) -> tuple[int, tuple[int, ...], list[int]]:
    """The last good one, the suspects, and what was tried, by position."""
    versions = [Version(str(n), "", "") for n in range(len(answers))]
    order: list[int] = []

    def attempt(version: Version, left: int | None) -> Step:
        number = int(version.name)
        assert left is None or left >= 0
        order.append(number)
        return Step(revision=version.name, title="", answer=answers[number], reason="", exit_code=0)

    good, suspects = bisect_versions(versions, attempt, trust=trust)
    return int(good.name), tuple(int(one.name) for one in suspects), order


@given(st.integers(2, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))))
def test_the_first_bad_one_is_found_in_a_number_of_steps_that_is_a_logarithm(
    sizes: tuple[int, int],
) -> None:
    count, bad = sizes
    good, suspects, order = tried([Answer.GOOD] * bad + [Answer.BAD] * (count - bad))
    assert (good, suspects) == (bad - 1, (bad,))
    assert len(order) <= (count - 2).bit_length()
    assert len(set(order)) == len(order)


@given(st.data(), st.integers(2, 30))
def test_the_first_bad_one_is_always_among_the_suspects_and_all_others_are_skipped(
    data: st.DataObject, count: int
) -> None:
    bad = data.draw(st.integers(1, count - 1))
    truth = [Answer.GOOD] * bad + [Answer.BAD] * (count - bad)
    told = [
        one if n in (0, count - 1) or not data.draw(st.booleans()) else Answer.SKIP
        for n, one in enumerate(truth)
    ]
    good, suspects, _ = tried(told)
    assert bad in suspects
    assert truth[good] is Answer.GOOD
    assert told[suspects[-1]] is Answer.BAD
    assert all(told[n] is Answer.SKIP for n in suspects[:-1])


def test_the_two_ends_are_tried_first_unless_they_are_trusted() -> None:
    answers = [Answer.GOOD, Answer.GOOD, Answer.BAD]
    assert tried(answers, trust=False)[2] == [0, 2, 1]
    assert tried(answers)[2] == [1]
    with pytest.raises(InputError, match=r"2 .*passes: it is not bad"):
        tried([Answer.GOOD] * 3, trust=False)
    with pytest.raises(InputError, match=r"^1: $"):
        tried([Answer.GOOD, Answer.STOP, Answer.BAD])


def test_recipes_between_two_are_those_of_one_name_by_their_numbers() -> None:
    assert recipes_between("qemu-7.2", "qemu-11", RECIPES) == ("qemu-7.2", "qemu-10.0", "qemu-11")
    assert recipes_between("qemu-11", "qemu-10.0", RECIPES) == ("qemu-11", "qemu-10.0")
    for first, last in (("qemu-7.2", "kernel-6.1"), ("qemu", "qemu-11")):
        with pytest.raises(InputError, match="wanted two recipes of one name"):
            recipes_between(first, last, RECIPES)


def bisect(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("--variant", "flat", "--bisect-dir", folder / "bisect", *words),
        cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_first_bad_recipe_is_found_between_two(tmp_path: Path) -> None:
    done = bisect(tmp_path, "--between", "qemu-7.2", "qemu-11")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("qemu-11 is the first bad version\n")
    place = tmp_path / "bisect"
    assert f"  bad : qemu-11 recipe: {place}/02-qemu-11/run-1\n" in done.stdout
    assert f"  good: qemu-10.0 recipe: {place}/03-qemu-10.0/run-1\n" in done.stdout
    assert "from good to bad: qemu-7.2, qemu-10.0, qemu-11\n" in done.stderr
    assert (place / "result.json").is_file()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--between", "qemu-11", "qemu-7.2"), "qemu-11 (recipe) fails: it is not good"),
        (("--between", "qemu-11", "qemu-8"), "there is no image recipe 'qemu-8'"),
        (("--between", "qemu-11"), "wanted two recipes at least"),
        (("--between", "qemu-7.2", "qemu", "kernel"), "wanted QEMUs only, or kernels only"),
        (("--between", "qemu-7.2", "qemu-11", "--good", "x"), "names the good one first"),
        (("--between", "qemu-7.2", "qemu-11", "--qemu", "qemu"), "--qemu is what is bisected"),
    ],
)
def test_a_list_that_cannot_be_bisected_is_refused(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    done = bisect(tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert done.stdout == ""
