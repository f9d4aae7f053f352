"""A matrix file gives its cells, in one order, or all that is wrong with it, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.case import load_case
from harness.errors import InputError, ProblemsError
from harness.matrix import Matrix, bind_cells, known_recipes, load_matrix, matrix_schema
from harness.topology import Choices, parse_choices

ROOT = Path(__file__).parents[2]
CASE = ROOT / "testcases" / "migrate-under-traffic.yaml"
RECIPES = {
    **dict.fromkeys(("qemu", "qemu-7.2", "qemu-10.0", "qemu-11"), "toolchain"),
    **dict.fromkeys(("kernel", "kernel-6.1", "kernel-6.12", "kernel-7"), "kernel"),
    "guest": "guest",
}


def matrix(folder: Path, text: str) -> Matrix:
    path = folder / "m.yaml"
    path.write_text(text, encoding="utf-8")
    return load_matrix(path, RECIPES)


def ids(made: Matrix) -> list[str]:
    return [cell.id for cell in made.cells]


def test_the_shipped_matrix_has_nine_cells() -> None:
    made = load_matrix(ROOT / "ci" / "matrix.yaml", RECIPES)
    assert ids(made) == [
        f"qemu-{qemu}+kernel-{kernel}"
        for qemu in ("7.2", "10.0", "11")
        for kernel in ("6.1", "6.12", "7")
    ]


def test_the_shipped_nested_matrix_has_a_cell_for_each_qemu() -> None:
    assert ids(load_matrix(ROOT / "ci" / "matrix-nested.yaml", RECIPES)) == ["qemu-10.0", "qemu-11"]


def test_cells_are_the_combinations_less_the_excluded_and_those_included(tmp_path: Path) -> None:
    made = matrix(
        tmp_path,
        """\
axes:
  machine: [q35, pc-q35-9.2]
  qemu: [qemu-10.0, qemu-11]
  accelerator: [tcg]
exclude:
  - {qemu: qemu-11, machine: q35, reason: another machine}
include:
  - {qemu: {alpha: qemu-10.0, beta: qemu-11}, machine: pc-q35-9.2}
  - {host-kernel: kernel-7}
expect:
  - {qemu: qemu-11, outcome: failed, reason: known, finding: expect.netdevs}
""",
    )
    assert ids(made) == [
        "qemu-10.0+q35+tcg",
        "qemu-10.0+pc-q35-9.2+tcg",
        "qemu-11+pc-q35-9.2+tcg",
        "alpha:qemu-10.0/beta:qemu-11+pc-q35-9.2",
        "host:kernel-7",
    ]
    assert [(one.cell.id, one.reason) for one in made.excluded] == [
        ("qemu-11+q35+tcg", "another machine")
    ]
    known = [made.known_of(cell) for cell in made.cells]
    assert [one.reason if one else None for one in known] == [None, None, "known", None, None]
    assert made.cells[3].choices == parse_choices(
        qemu=["alpha=qemu-10.0", "beta=qemu-11"], machine="pc-q35-9.2"
    )


def test_a_variant_on_an_axis_narrows_the_topologies(tmp_path: Path) -> None:
    made = matrix(tmp_path, "axes: {variant: [flat], machine: [q35]}\n")
    case = load_case(CASE)
    runs = bind_cells(case, made, case.variants, {}, Choices())
    assert [one.id for one in runs] == ["flat[q35]"]
    everywhere = matrix(tmp_path, "axes: {machine: [q35, pc-q35-9.2]}\n")
    runs = bind_cells(case, everywhere, case.variants, {}, parse_choices(accelerator="tcg"))
    assert [one.id for one in runs] == [
        *("flat[q35]", "flat[pc-q35-9.2]", "nested[q35]", "nested[pc-q35-9.2]")
    ]
    guests = [one.bound.topology.guests["g1"] for one in runs]
    assert [guest.machine for guest in guests] == ["q35", "pc-q35-9.2"] * 2
    assert {guest.accelerator.value for guest in guests} == {"tcg"}
    with pytest.raises(InputError) as refused:
        bind_cells(case, made, ["nested"], {}, Choices())
    assert str(refused.value).startswith(f"{made.path}: no cell is on nested\n")


def test_references_that_are_no_names_are_followed(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (tmp_path / "mine.yaml").write_text("kind: toolchain\nsuite: trixie\n")
    (tmp_path / "net_failover.ko").touch()
    kernel = f"kernel+{tmp_path}/net_failover.ko"
    made = matrix(
        tmp_path,
        f"axes: {{qemu: ['path:{tmp_path}/build', {tmp_path}/mine.yaml]}}\n"
        f"include: [{{guest-kernel: {kernel}}}]\n",
    )
    assert ids(made) == [f"path:{tmp_path}/build", f"{tmp_path}/mine.yaml", kernel]

    with pytest.raises(ProblemsError) as caught:
        matrix(tmp_path, f"axes: {{qemu: [{tmp_path}/yours.yaml, {tmp_path}/net_failover.ko]}}\n")
    first, second = caught.value.problems
    assert first.message == f"{tmp_path}/yours.yaml: there is no {tmp_path}/yours.yaml"
    assert "is neither a recipe (.yaml) nor a directory" in second.message


PROBLEMS = {
    "an axis that is none": (
        "axes: {qmeu: [qemu]}\n",
        ["m.yaml:1:8 axes.qmeu: unknown key (did you mean 'qemu'?)"],
    ),
    "recipes that are not there, or of another kind": (
        "axes:\n  qemu: [qemu-9, kernel]\n  guest-kernel: [krenel]\n"
        "include:\n  - {qemu: {alpha: qemu, beta: guest}}\n",
        [
            "m.yaml:2:10 axes.qemu[0]: there is no image recipe 'qemu-9' (did you mean 'qemu'?)",
            "m.yaml:2:18 axes.qemu[1]: recipe 'kernel' is of kind kernel; wanted one of kind "
            "toolchain (known: qemu, qemu-7.2, qemu-10.0, qemu-11)",
            "m.yaml:3:18 axes.guest-kernel[0]: there is no image recipe 'krenel' "
            "(did you mean 'kernel'?)",
            "m.yaml:5:32 include[0].qemu.beta: recipe 'guest' is of kind guest; wanted one of "
            "kind toolchain (known: qemu, qemu-7.2, qemu-10.0, qemu-11)",
        ],
    ),
    "a version that is a number to YAML": (
        "axes: {machine: [9.2]}\n",
        ['m.yaml:1:18 axes.machine[0]: found 9.2, wanted text (put it in quotes: "9.2")'],
    ),
    "an axis without values": (
        "axes: {machine: [q35], qemu: []}\n",
        ["m.yaml:1:24 axes.qemu: the axis has no values (leave it out)"],
    ),
    "an accelerator that is none": (
        "axes: {accelerator: [kvm, auto]}\n",
        ["m.yaml:1:27 axes.accelerator[1]: found 'auto', wanted 'kvm' or 'tcg'"],
    ),
    "a value twice": (
        "axes: {machine: [q35, q35]}\n",
        ["m.yaml:1:23 axes.machine[1]: 'q35' is there twice"],
    ),
    "exclusions without a reason, or of nothing": (
        "axes: {machine: [q35, pc-q35-9.2]}\nexclude:\n  - {machine: q35}\n",
        ["m.yaml:3:5 exclude[0]: the key 'reason' is missing (why; it stands in the table)"],
    ),
    "exclusions that match nothing": (
        "axes: {machine: [q35, pc-q35-9.2], accelerator: [tcg]}\nexclude:\n"
        "  - {machine: q53, reason: x}\n"
        "  - {qemu: qemu, reason: x}\n"
        "  - {reason: x}\n"
        "  - {machine: q35, reason: x}\n"
        "  - {machine: q35, accelerator: tcg, reason: x}\n",
        [
            "m.yaml:3:5 exclude[0]: excludes no cell (machine: did you mean 'q35'?)",
            "m.yaml:4:5 exclude[1]: excludes no cell (qemu: there is no axis 'qemu')",
            "m.yaml:5:5 exclude[2]: names no axis, and so is about every cell",
            "m.yaml:7:5 exclude[4]: excludes only what is excluded above already",
        ],
    ),
    "inclusions of what is there, or excluded": (
        "axes: {machine: [q35, pc-q35-9.2]}\n"
        "exclude: [{machine: q35, reason: x}]\n"
        "include:\n  - {machine: pc-q35-9.2}\n  - {machine: q35}\n  - {}\n",
        [
            "m.yaml:4:5 include[0]: 'pc-q35-9.2' is a cell already",
            "m.yaml:5:5 include[1]: 'q35' is excluded above",
            "m.yaml:6:5 include[2]: names no axis",
        ],
    ),
    "expectations of nothing, and two of one cell": (
        "axes: {machine: [q35]}\nexpect:\n"
        "  - {machine: pc-q35-9.2, outcome: failed, reason: x}\n"
        "  - {machine: q35, outcome: failed, reason: x}\n"
        "  - {machine: q35, outcome: failed, reason: y}\n",
        [
            "m.yaml:3:5 expect[0]: is about no cell (machine: known: q35)",
            "m.yaml:5:5 expect[2]: 'q35' has an expectation already",
        ],
    ),
    "another outcome": (
        "axes: {machine: [q35]}\nexpect: [{machine: q35, outcome: passed, reason: x}]\n",
        ["m.yaml:2:34 expect[0].outcome: found 'passed', wanted 'failed'"],
    ),
    "no cells": (
        "axes: {}\n",
        ["m.yaml:1:1: the matrix has no cells (give `axes` some values, as in `qemu: [qemu]`)"],
    ),
    "every cell excluded": (
        "axes: {machine: [q35]}\nexclude: [{machine: q35, reason: x}]\n",
        ["m.yaml:1:1: every cell is excluded"],
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_all_problems_are_told_with_their_places(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, told = PROBLEMS[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProblemsError) as refused:
        matrix(Path(), text)
    assert [str(problem) for problem in refused.value.problems] == told


def test_a_variant_that_the_case_does_not_have_is_told(tmp_path: Path) -> None:
    made = matrix(tmp_path, "axes: {variant: [flta], machine: [q35]}\n")
    case = load_case(CASE)
    with pytest.raises(InputError) as refused:
        bind_cells(case, made, case.variants, {}, Choices())
    assert str(refused.value) == (
        f"{made.path}: 'flta' is not a topology of {CASE}\n  hint: did you mean 'flat'?"
    )


def test_cells_that_do_not_fit_the_topology_are_told_together(tmp_path: Path) -> None:
    made = matrix(tmp_path, "axes: {machine: [q35, pc]}\ninclude: [{host-kernel: kernel}]\n")
    case = load_case(CASE)
    with pytest.raises(InputError) as refused:
        bind_cells(case, made, ["flat"], {}, Choices())
    text = str(refused.value)
    assert "with --machine pc: guests.g1.machine: 'pc' has no PCIe root ports" in text
    assert "--host-kernel kernel:" in text
    assert "has no host of kind vm" in text


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (parse_choices(machine="q35"), "--machine and {} both choose the machine"),
        (parse_choices(qemu=["qemu"]), "--qemu and {} both choose the qemu"),
        (parse_choices(qemu=["alpha=qemu"]), "--qemu and {} both choose the qemu"),
        (
            parse_choices(guest_kernel="kernel"),
            "--guest-kernel and {} both choose the guest kernel",
        ),
    ],
)
def test_an_option_and_a_cell_cannot_choose_the_same(
    option: Choices, told: str, tmp_path: Path
) -> None:
    made = matrix(
        tmp_path,
        "axes: {machine: [q35], qemu: [qemu, {alpha: qemu, beta: qemu}]}\n"
        "include: [{guest-kernel: kernel}]\n",
    )
    with pytest.raises(InputError) as refused:
        made.must_leave(option)
    assert refused.value.message == told.format(made.path)
    made.must_leave(parse_choices(accelerator="tcg"))


def test_the_schema_names_the_axes_as_the_file_does() -> None:
    axes = matrix_schema()["$defs"]["Axes"]["properties"]
    assert list(axes) == [
        *("variant", "qemu", "guest-kernel", "host-kernel", "machine", "accelerator")
    ]


def test_the_recipes_of_this_checkout_are_known_by_their_kind() -> None:
    found = known_recipes()
    assert (found["qemu"], found["kernel"], found["guest"]) == ("toolchain", "kernel", "guest")
