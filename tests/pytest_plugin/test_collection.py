"""What pytest collects from cases, and what it says of those that are none."""

from __future__ import annotations

import pytest

from tests.pytest_plugin.checkouts import FLAT, PLUGIN, TRIO, make_checkout, write

BOTH = TRIO.replace(
    "topology: ../topologies/flat.yaml",
    "topologies: {flat: ../topologies/flat.yaml, nested: ../topologies/nested.yaml}",
)


def collected(pytester: pytest.Pytester, *args: str) -> list[str]:
    """The node ids that pytest collects."""
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", "-q", *args)
    return [line for line in done.outlines if "::" in line and not line.startswith("ERROR")]


def test_each_topology_of_a_case_is_a_test(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=BOTH, other=TRIO)
    assert collected(pytester) == [
        "testcases/other.yaml::flat",
        "testcases/trio.yaml::flat",
        "testcases/trio.yaml::nested",
    ]


def test_cases_are_marked_by_their_topology(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=BOTH)
    assert collected(pytester, "-m", "lab") == ["testcases/trio.yaml::flat"]
    assert collected(pytester, "-m", "nested") == ["testcases/trio.yaml::nested"]


def test_the_variant_can_be_chosen(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=BOTH)
    assert collected(pytester, "--case-variant", "nested") == ["testcases/trio.yaml::nested"]
    assert collected(pytester, "testcases/trio.yaml::flat") == ["testcases/trio.yaml::flat"]


def test_yaml_elsewhere_is_no_case_unless_it_is_named(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path)
    write(pytester.path / "runs" / "case.yaml", TRIO)
    assert collected(pytester) == []
    assert collected(pytester, "runs/case.yaml") == ["runs/case.yaml::flat"]


def test_a_bad_case_is_a_collection_error_with_its_problems_and_no_frames(
    pytester: pytest.Pytester,
) -> None:
    bad = TRIO.replace("g1: {net1", "g2: {net1").replace("failover:", "failovr:")
    make_checkout(pytester.path, bad=bad, good=TRIO)
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", "-q")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    text = done.stdout.str()
    assert "ERROR collecting testcases/bad.yaml" in text
    assert "testcases/bad.yaml:7:" in text
    assert "failovr" in text
    assert "testcases/good.yaml::flat" in text
    assert "Traceback" not in text
    assert ".py:" not in text


def test_an_unknown_parameter_is_told(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path, trio=TRIO)
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only", "--case-set", "drivr=igbvf")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert "driver" in done.stdout.str()
    assert ".py:" not in done.stdout.str()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "case: [\n", "\x00", "case: x\ntopology: no\n"])
def test_a_file_that_is_no_case_is_one_clear_error(pytester: pytest.Pytester, text: str) -> None:
    make_checkout(pytester.path, odd=text)
    done = pytester.runpytest_inprocess(*PLUGIN, "--collect-only")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert "odd.yaml" in done.stdout.str()
    assert ".py:" not in done.stdout.str()


def test_python_tests_are_marked_by_their_topology(pytester: pytest.Pytester) -> None:
    make_checkout(pytester.path)
    pytester.makepyfile("""
        import pytest

        @pytest.mark.topology("topologies/flat.yaml")
        def test_flat(lab): pass

        @pytest.mark.topology("topologies/nested.yaml")
        def test_nested(lab): pass

        def test_without(): pass
    """)
    name = "test_python_tests_are_marked_by_their_topology.py"
    assert collected(pytester, "-m", "lab") == [f"{name}::test_flat"]
    assert collected(pytester, "-m", "nested") == [f"{name}::test_nested"]


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        ("", "the `lab` fixture needs a topology"),
        ('@pytest.mark.topology("topologies/none.yaml")', "none.yaml"),
        ("@pytest.mark.topology", "wanted one file"),
        ('@pytest.mark.topology("bad.yaml")', "bad.yaml:20:"),
    ],
)
def test_a_lab_without_a_good_topology_is_an_error_without_frames(
    pytester: pytest.Pytester, mark: str, told: str
) -> None:
    make_checkout(pytester.path)
    write(pytester.path / "bad.yaml", FLAT.replace("kind: netns", "kind: netnss"))
    pytester.makepyfile(f"""
        import pytest

        {mark}
        def test_it(lab): pass
    """)
    done = pytester.runpytest_inprocess(*PLUGIN)
    done.assert_outcomes(errors=1)
    text = done.stdout.str()
    assert "THE INPUT IS WRONG (2)" in text
    assert told.split(":")[0] in text
    assert "harness/" not in text


def test_keeping_a_lab_is_refused_where_nobody_could_press_enter(
    pytester: pytest.Pytester,
) -> None:
    make_checkout(pytester.path, trio=TRIO)
    done = pytester.runpytest_subprocess(*PLUGIN, "-n", "2", "--lab-keep")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "--lab-keep waits for Enter" in done.stderr.str()
