"""The mutants: each is one line, with a recipe; and what runs make of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutant_table import (
    HERE,
    HOPELESS,
    KINDS,
    STOCK,
    Index,
    Kind,
    Known,
    Mutant,
    Ran,
    index,
    page,
    recipe,
)
from harness.images.patches import touched_files
from harness.images.recipe import ChangedKernelRecipe, load_recipe

ROOT = Path(__file__).parents[2]
SOURCES = {
    "net_failover": "drivers/net/net_failover.c",
    "failover": "net/core/failover.c",
}
EVERY = [(kind, name) for kind in KINDS for name in index().of(kind)]
CASE = "trio-at-start"


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_mutant_changes_one_line(kind: Kind, name: str) -> None:
    lines = (HERE / kind / f"{name}.patch").read_text(encoding="utf-8").splitlines()[2:]
    removed = [line for line in lines if line.startswith("-")]
    added = [line for line in lines if line.startswith("+")]
    assert len(removed) == 1
    assert len(added) <= 1


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_the_recipe_of_a_mutant_takes_its_patch_to_the_module_that_it_changes(
    kind: Kind, name: str
) -> None:
    patch = HERE / kind / f"{name}.patch"
    made = load_recipe(recipe(kind, name))
    assert [place for _, place in made.patches_of()] == [patch.name]
    if isinstance(made, ChangedKernelRecipe):
        (module,) = made.modules
        assert touched_files([patch]) == {SOURCES[module]}
    else:
        assert kind == "qemu"


def test_every_patch_is_in_the_index_and_every_case_in_it_is_there() -> None:
    for kind in KINDS:
        assert {path.stem for path in (HERE / kind).glob("*.patch")} == set(index().of(kind))
        named = {case for mutant in index().of(kind).values() for case in mutant.cases}
        assert named <= {path.stem for path in (ROOT / "testcases").glob("*.yaml")}


def test_there_are_ten_mutants_of_the_kernel_and_five_of_qemu_that_can_be_seen() -> None:
    seen = {kind: [one for one in index().of(kind).values() if one.seen] for kind in KINDS}
    assert len(seen["kernel"]) >= 10
    assert len(seen["qemu"]) >= 5


def ran(mutant: str, *failed: str, outcome: str = "") -> Ran:
    outcome = outcome or ("failed" if failed else "passed")
    return Ran.model_validate(
        {"mutant": mutant, "case": CASE, "outcome": outcome, "failed": failed, "reason": "so"}
    )


GOOD = ran(STOCK)


@pytest.mark.parametrize(
    ("runs", "judged"),
    [
        ([], "run mutant"),
        ([ran("m")], "passes"),
        ([ran("m", "a")], "run stock"),
        ([ran("m", "a"), GOOD], "run mutant"),
        ([ran("m", "a"), GOOD, ran("m", "a", "b")], "finds"),
        ([ran("m", "a"), GOOD, ran("m", "b")], "useless"),
        ([ran("m", "a"), GOOD, ran("m")], "passes"),
        ([ran("m", "a"), ran(STOCK, "a")], "run stock"),
        ([ran("m", "a"), ran(STOCK, "a"), ran(STOCK, "a")], "useless"),
        ([ran("m", outcome="broke"), GOOD, ran("m", outcome="broke")], "useless"),
        ([ran("m", outcome="cannot-tell"), GOOD, ran("m", "a")], "useless"),
    ],
)
def test_a_case_finds_a_mutant_that_fails_twice_alike_where_stock_passes(
    runs: list[Ran], judged: str
) -> None:
    assert Known(runs=tuple(runs)).judged("m", CASE) == judged


def test_a_mutant_that_breaks_every_lab_is_given_up_and_not_found() -> None:
    broken = [
        ran("m", outcome="broke").model_copy(update={"case": str(n)}) for n in range(HOPELESS)
    ]
    known = Known(runs=tuple(broken))
    assert known.hopeless("m")
    assert known.finder("m") == ""
    assert not Known(runs=(*broken[1:], ran("m", "a"))).hopeless("m")


def test_the_table_says_what_found_a_mutant_what_missed_it_and_what_was_not_run() -> None:
    mutant = Mutant(changes="does harm", seen="the guest", cases=(CASE,), by="a")
    mutants = Index(
        kernel={"m": mutant, "other": mutant, "third": mutant, "begun": mutant},
        qemu={"none": Mutant(changes="nothing", unseen="no use", cases=())},
    )
    runs = (ran("m", "a"), GOOD, ran("m", "a"), ran("other"), ran("none"), ran("begun", "a"))

    text = page(mutants, Known(runs=runs), "# Mutants")

    assert "1 of the 2 that were run and can be seen are found (50 %); 2 were not run, or" in text
    rows = {line.split("]")[0].removeprefix("| ["): line for line in text.splitlines()}
    assert rows["m"].endswith(f"| `{CASE}`: a. so |")
    assert rows["other"].endswith(f"| **missed** by `{CASE}` |")
    assert rows["begun"].endswith("| not run to the end |")
    assert rows["third"].endswith(f"| not run; should be by `{CASE}`: a |")
    assert rows["none"].endswith(f"| nobody: no use | not found by `{CASE}` |")


def test_the_page_of_mutants_is_what_the_results_beside_it_give() -> None:
    known = Known.model_validate_json((ROOT / "docs/mutants.json").read_bytes())
    prose = (HERE / "mutants.md").read_text(encoding="utf-8")

    assert (ROOT / "docs/mutants.md").read_text(encoding="utf-8") == page(index(), known, prose)
