"""pytest's options and its matrix mean what they mean on the command line."""

from __future__ import annotations

import pytest

from harness.cli import main
from tests.pytest_plugin.checkouts import PLUGIN, TRIO, make_checkout, write
from tests.pytest_plugin.test_collection import BOTH, collected

MATRIX = """\
axes: {machine: [q35, pc-q35-9.2], accelerator: [tcg, kvm]}
exclude: [{machine: q35, accelerator: kvm, reason: no such thing}]
include: [{qemu: qemu}]
expect: [{machine: q35, outcome: failed, reason: so it is}]
"""
CELLS = ("q35+tcg", "pc-q35-9.2+tcg", "pc-q35-9.2+kvm", "qemu")


def test_each_cell_on_each_topology_is_a_test(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=BOTH)
    write(pytester.path / "m.yaml", MATRIX)
    assert collected(pytester, "--matrix", "m.yaml") == [
        f"testcases/trio.yaml::{on}[{cell}]"
        for cells in (CELLS, ("q35+kvm",))
        for on in ("flat", "nested")
        for cell in cells
    ]
    assert collected(pytester, "--matrix", "m.yaml", "--case-variant", "nested", "-m", "lab") == []
    # A node id leads back to its test.
    one = f"testcases/trio.yaml::flat[{CELLS[1]}]"
    assert collected(pytester, "--matrix", "m.yaml", one) == [one]


def test_the_command_line_has_the_same_cells_from_the_same_file(
    pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]
) -> None:
    make_checkout(pytester.path, trio=TRIO)
    path = write(pytester.path / "m.yaml", MATRIX)
    tests = collected(pytester, "--matrix", "m.yaml")
    capsys.readouterr()
    assert main(["matrix", str(path)]) == 0
    cells = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert [test.replace("testcases/trio.yaml::flat", "*") for test in tests] == cells


def test_the_head_says_what_was_chosen_and_what_a_matrix_is_for(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=TRIO)
    write(pytester.path / "m.yaml", MATRIX)
    options = ("--matrix", "m.yaml", "--guest-kernel", "kernel")
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", *options)
    done.stdout.fnmatch_lines(
        [
            "harness: chosen --guest-kernel kernel",
            "harness: cases run in 4 cells of m.yaml, Python tests once",
        ]
    )


def test_an_excluded_cell_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=TRIO)
    write(pytester.path / "m.yaml", MATRIX)
    done = pytester.runpytest_inprocess(*PLUGIN, "-rs", "--matrix", "m.yaml", "-k", "q35+kvm")
    done.assert_outcomes(skipped=1, deselected=4)
    assert "excluded: no such thing" in done.stdout.str()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--qemu", "nix"], "--qemu nix: there is no image recipe 'nix'"),
        (["--qemu", "beta=nix"], "--qemu beta=nix: there is no image recipe 'nix'"),
        (["--qemu", "qemu", "--qemu", "kernel"], "--qemu kernel: every host has 'qemu' already"),
        (["--guest-kernel", "qemu"], "recipe 'qemu' is of kind toolchain; wanted one of kind"),
        (["--host-kernel", "krnl"], "--host-kernel krnl: there is no image recipe 'krnl'"),
        (["--machine", " "], "--machine: wanted a name, found nothing"),
        (["--matrix", "none.yaml"], "none.yaml: there is no such file"),
        (["--matrix", "m.yaml", "--machine", "q35"], "--machine and m.yaml both choose the mach"),
        (["--matrix", "empty.yaml"], "empty.yaml:1:1: the matrix has no cells"),
    ],
)
def test_wrong_options_are_usage_errors_in_the_words_of_the_command_line(
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    told: str,
) -> None:
    make_checkout(pytester.path, trio=TRIO)
    write(pytester.path / "m.yaml", MATRIX)
    write(pytester.path / "empty.yaml", "axes: {}\n")
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", *words)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert told in done.stderr.str()
    monkeypatch.chdir(pytester.path)
    capsys.readouterr()
    assert main(["run", "testcases/trio.yaml", *words]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host-kernel", "kernel"], "has no host of kind vm"),
        (["--qemu", "betta=qemu"], "'betta' is not a host of "),
        (["--machine", "pc"], "'pc' has no PCIe root ports"),
    ],
)
def test_choices_that_do_not_fit_a_case_are_collection_errors(
    pytester: pytest.Pytester, words: list[str], told: str
) -> None:
    make_checkout(pytester.path, trio=TRIO)
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", *words)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert told in done.stdout.str()
    assert ".py:" not in done.stdout.str()


def test_choices_that_do_not_fit_a_python_test_are_errors_of_its_set_up(
    pytester: pytest.Pytester,
) -> None:
    make_checkout(pytester.path)
    pytester.makepyfile("""
        import pytest

        @pytest.mark.topology("topologies/flat.yaml")
        def test_it(lab): pass
    """)
    done = pytester.runpytest_inprocess(*PLUGIN, "--machine", "pc")
    done.assert_outcomes(errors=1)
    assert "THE INPUT IS WRONG (2)" in done.stdout.str()
    assert "'pc' has no PCIe root ports" in done.stdout.str()
