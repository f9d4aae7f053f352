"""What avocado finds in a directory of cases, and what parameters become."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.avocado_plugin.variant import Wanted, wanted_of
from harness.matrix import as_avocado_variants, load_matrix
from tests.avocado_plugin.places import Avocado
from tests.pytest_plugin.checkouts import TRIO, make_checkout, write
from tests.pytest_plugin.test_collection import BOTH

RECIPES = {"qemu": "toolchain", "kernel": "kernel"}


@pytest.fixture
def avocado(tmp_path: Path) -> Iterator[Avocado]:
    return Avocado(tmp_path)


def listed(avocado: Avocado, *words: str) -> list[list[str]]:
    """The columns of ``avocado list``: kind and reference."""
    done = avocado.call("list", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_each_topology_of_a_case_is_a_test(avocado: Avocado) -> None:
    make_checkout(avocado.folder, trio=BOTH, other=TRIO)
    assert listed(avocado, "testcases") == [
        ["harness-case", "testcases/other.yaml:flat"],
        ["harness-case", "testcases/trio.yaml:flat"],
        ["harness-case", "testcases/trio.yaml:nested"],
    ]
    assert listed(avocado, "testcases/trio.yaml:nested") == [
        ["harness-case", "testcases/trio.yaml:nested"]
    ]


def test_tests_can_be_filtered_by_the_kind_of_lab(avocado: Avocado) -> None:
    make_checkout(avocado.folder, trio=BOTH)
    assert listed(avocado, "--filter-by-tags=nested", "testcases") == [
        ["harness-case", "testcases/trio.yaml:nested"]
    ]


def test_a_case_with_mistakes_is_a_test_and_other_yaml_is_none(avocado: Avocado) -> None:
    make_checkout(avocado.folder, bad=TRIO.replace("case:", "csae:"))
    write(avocado.folder / "testcases" / "note.yaml", "to: do\n")
    assert listed(avocado, "testcases", "topologies") == [["harness-case", "testcases/bad.yaml"]]
    done = avocado.call("list", "topologies/flat.yaml")
    assert "harness-case" not in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("testcases/bad.yaml",), "case.yaml:7:"),
        (("testcases/trio.yaml:flta",), "'flta' is not a topology of this case"),
        (("testcases/trio.yaml", "-p", "drivr=x"), "--set drivr: the case has no such parameter"),
        (("testcases/trio.yaml", "-p", "qemu=nix"), "--qemu nix: there is no image recipe 'nix'"),
        (("testcases/trio.yaml", "-p", "machine=pc"), "'pc' has no PCIe root ports"),
    ],
)
def test_wrong_input_is_an_error_with_its_reason(
    avocado: Avocado, words: tuple[str, ...], told: str
) -> None:
    make_checkout(avocado.folder, trio=TRIO, bad=TRIO.replace("failover:", "failovr:"))
    job = avocado.run(*words)
    (test,) = job.tests.values()
    assert job.code == 1
    assert test["status"] == "ERROR"
    assert test["fail_reason"].startswith("THE INPUT IS WRONG (2): ")
    assert told.replace("case.yaml", "testcases/bad.yaml") in test["fail_reason"]
    assert "Traceback" not in job.out


def test_a_variant_for_another_topology_is_cancelled_with_the_reason(avocado: Avocado) -> None:
    make_checkout(avocado.folder, trio=TRIO)
    test = avocado.run("testcases/trio.yaml", "-p", "variant=nested").tests[
        "testcases/trio.yaml:flat"
    ]
    assert test["status"] == "CANCEL"
    assert test["fail_reason"] == "the variant is for topology 'nested'"


def test_the_cells_of_a_matrix_are_variants(avocado: Avocado) -> None:
    matrix = write(
        avocado.folder / "matrix.yaml",
        """\
        axes: {machine: [q35, pc-q35-9.2], accelerator: [tcg]}
        expect: [{machine: q35, outcome: failed, reason: so it is, finding: expect.netdevs}]
        """,
    )
    text = as_avocado_variants(load_matrix(matrix, RECIPES))
    (avocado.folder / "variants.json").write_text(text, encoding="utf-8")
    done = avocado.call("variants", "--json-variants-load", "variants.json", "--variants", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("Variant q35+tcg", "Variant pc-q35-9.2+tcg", "/:machine", "pc-q35-9.2"):
        assert said in done.stdout


def dumped(*pairs: tuple[str, object]) -> dict[str, object]:
    """A variant as avocado hands it to a runner."""
    nodes = [["/", [["/", key, value]]] for key, value in pairs]
    return {"variant_id": "x", "variant": nodes, "paths": ["/"]}


def test_parameters_become_options() -> None:
    assert wanted_of(None) == Wanted((), None, "", None)
    wanted = wanted_of(
        dumped(
            ("guest_kernel", "kernel-7"),
            ("qemu", "qemu"),
            ("qemu.beta", "qemu-11"),
            ("rate", 500),
            ("variant", "flat"),
            ("expect-failed", "so it is"),
            ("expect-finding", "expect.netdevs"),
        )
    )
    assert wanted == Wanted(
        (
            *("--guest-kernel", "kernel-7", "--qemu", "qemu", "--qemu", "beta=qemu-11"),
            *("--set", "rate=500"),
        ),
        "flat",
        "so it is",
        "expect.netdevs",
    )


def test_a_deeper_value_takes_the_place_of_an_outer_one() -> None:
    assert wanted_of(dumped(("machine", "q35"), ("machine", "pc-q35-9.2"))).options == (
        "--machine",
        "pc-q35-9.2",
    )
