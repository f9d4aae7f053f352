"""``gate``: its options, its record, and how it goes on after an interruption.

The runs themselves are stood in for here by a recorded one; ``tests/end_to_end`` has real labs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.case import BoundCase, Scalar
from harness.cli import main
from harness.cli.gates import run_gates
from harness.cli.parser import make_parser
from harness.cli.run_options import RunOptions
from harness.errors import HarnessError, ImageError, InputError, Interrupted, LabError
from harness.record import RunDir
from harness.report import Result, judge_run, result_of

RUN = Path(__file__).parent / "data" / "run"
GATE = "gate: {streams: {inbound: {lost: 20 packets}}}\n"

Ending = Callable[[int, bool], Result | HarnessError]


@pytest.fixture(scope="module")
def recorded() -> Result:
    return result_of(judge_run(RunDir.open(RUN)))


@pytest.fixture
def case(tmp_path: Path) -> Path:
    (tmp_path / "flat-pair.yaml").write_bytes((RUN / "topology.yaml").read_bytes())
    path = tmp_path / "keeps.yaml"
    path.write_text((RUN / "case.yaml").read_text(encoding="utf-8") + GATE, encoding="utf-8")
    return path


def losing(recorded: Result, lost: int) -> Result:
    streams = tuple(
        one.model_copy(update={"lost": lost}) if one.stream == "inbound" else one
        for one in recorded.streams
    )
    return recorded.model_copy(update={"streams": streams})


def go(words: Sequence[object], ending: Ending) -> tuple[int, list[bool]]:
    """The exit code, and for each run whether it was the candidate's."""
    args = make_parser("").parse_args(["gate", *map(str, words)])
    ran: list[bool] = []

    def run_one(
        _options: RunOptions, bound: BoundCase, _set: dict[str, Scalar], _dir: RunDir
    ) -> Result:
        ran.append(bound.topology.guests["g1"].machine == "pc-q35-9.2")
        end = ending(len(ran), ran[-1])
        if isinstance(end, HarnessError):
            raise end
        return end

    return run_gates(args, run_one=run_one), ran


def words(case: Path, *more: object) -> list[object]:
    return [case, "--candidate", "machine=pc-q35-9.2", "--gate-dir", case.parent / "g", *more]


def test_the_candidates_runs_have_the_candidates_build(case: Path, recorded: Result) -> None:
    code, ran = go(words(case), lambda _n, ours: losing(recorded, 300 if ours else 257))

    assert code == 1
    assert ran == [False, True, True, False] * 3


def test_a_gate_is_kept_with_its_reports(
    case: Path, recorded: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = case.parent / "g" / "keeps-flat", case.parent
    more = ("--json", out / "o.json", "--junit", out / "o.xml", "--markdown", out / "o.md")

    code, _ = go(words(case, *more), lambda _n, _ours: losing(recorded, 257))

    assert code == 0
    data = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
    assert data["terms"]["candidate"] == {"machine": "pc-q35-9.2"}
    assert len(data["runs"]) == 12
    assert data["decision"] == json.loads((out / "o.json").read_text(encoding="utf-8"))
    assert (folder / "002-candidate" / "logs").is_dir()
    told = (folder / "report.txt").read_text(encoding="utf-8")
    assert told in capsys.readouterr().out
    assert "a guest keeps its traffic through a migration [flat]: no worse" in told
    assert (out / "o.md").read_text(encoding="utf-8") == (folder / "report.md").read_text(
        encoding="utf-8"
    )
    assert ElementTree.parse(out / "o.xml").getroot()[0].get("failures") == "0"


def test_a_gate_that_was_interrupted_goes_on_where_it_was(case: Path, recorded: Result) -> None:
    def interrupted(number: int, _ours: bool) -> Result | HarnessError:
        return Interrupted("interrupted") if number == 6 else losing(recorded, 257)

    with pytest.raises(Interrupted) as caught:
        go(words(case), interrupted)
    assert str(case.parent / "g") in caught.value.hint

    code, ran = go(words(case), lambda _n, _ours: losing(recorded, 257))

    assert code == 0
    # Five were made: B C C B B, and then C C B B C C B.
    assert ran == [True, True, False, False, True, True, False]
    assert (case.parent / "g" / "keeps-flat" / "006-candidate-2").is_dir()
    # It is decided, so nothing more is run.
    assert go(words(case), lambda _n, _ours: losing(recorded, 257)) == (0, [])


def test_terms_cannot_change_after_the_first_run(case: Path, recorded: Result) -> None:
    go(words(case), lambda _n, _ours: losing(recorded, 257))

    with pytest.raises(InputError, match=r"begun with other terms: runs\n"):
        go(words(case, "--runs", 12), lambda _n, _ours: losing(recorded, 257))


def test_a_damaged_record_is_no_empty_one(case: Path, recorded: Result) -> None:
    folder = case.parent / "g" / "keeps-flat"
    folder.mkdir(parents=True)
    (folder / "gate.json").write_text('{"schema": 1, "runs": [', encoding="utf-8")

    with pytest.raises(HarnessError, match="is damaged"):
        go(words(case), lambda _n, _ours: losing(recorded, 257))


def test_a_lab_that_always_breaks_is_no_verdict(case: Path) -> None:
    code, ran = go(words(case), lambda _n, _ours: LabError("no space left"))

    assert (code, len(ran)) == (3, 6)


def test_an_image_that_cannot_be_built_ends_it_at_once(case: Path) -> None:
    with pytest.raises(ImageError):
        go(words(case), lambda _n, _ours: ImageError("does not compile"))


def test_a_build_against_itself_is_run_with_the_baseline(case: Path, recorded: Result) -> None:
    folder = case.parent / "g"

    code, ran = go(
        [case, "--a-a", "--baseline", "machine=pc-q35-9.2", "--gate-dir", folder],
        lambda _n, _ours: losing(recorded, 257),
    )

    assert code == 0
    assert set(ran) == {True}


def test_two_cases_share_the_promise_and_the_worse_answer_counts(
    case: Path, recorded: Result
) -> None:
    other = case.with_name("again.yaml")
    other.write_bytes(case.read_bytes())

    def ending(number: int, ours: bool) -> Result:
        return losing(recorded, 300 if ours and number <= 12 else 257)

    code, ran = go([other, *words(case)], ending)

    assert code == 1
    assert len(ran) == 24
    data = json.loads((case.parent / "g" / "keeps-flat" / "gate.json").read_text(encoding="utf-8"))
    assert data["terms"]["error"] == 0.0125
    assert data["decision"]["outcome"] == "no worse"


BAD = {
    "no candidate": ([], "the candidate is the baseline: there is nothing to compare"),
    "a candidate and --a-a": (
        ["--a-a", "--candidate", "qemu=qemu-11"],
        "--a-a compares the baseline with itself",
    ),
    "an unknown word": (
        ["--candidate", "kernel=kernel-7"],
        "--candidate kernel=kernel-7: wanted WHAT=REF, WHAT one of",
    ),
    "no reference": (["--candidate", "qemu"], "--candidate qemu: wanted WHAT=REF"),
    "an unknown recipe": (["--candidate", "qemu=qemu-99"], "'qemu-99'"),
    "a kernel twice": (
        ["--candidate", "guest-kernel=kernel-7", "--candidate", "guest-kernel=kernel"],
        "there is a guest-kernel already",
    ),
    "a module that is not there": (
        ["--candidate", "module=./net_failover.ko"],
        "there is no module file",
    ),
    "too few runs": (["--a-a", "--runs", "3"], "3 runs of each build cannot show"),
}


@pytest.mark.parametrize(("options", "wanted"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_told_before_anything_runs(
    case: Path, options: list[str], wanted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", str(case), *options]) == 2
    assert wanted in capsys.readouterr().err


def test_a_case_without_endpoints_cannot_be_gated(
    case: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case.write_bytes((RUN / "case.yaml").read_bytes())

    assert main(["gate", str(case), "--a-a"]) == 2
    assert "it declares none" in capsys.readouterr().err


def test_a_module_takes_the_place_of_its_own_in_the_topologys_kernel(
    case: Path, recorded: Result
) -> None:
    module = case.with_name("net_failover.ko")
    module.write_bytes(b"")
    kernels = []
    args = make_parser("").parse_args(
        ["gate", str(case), "--candidate", f"module={module}", "--gate-dir", str(case.parent / "g")]
    )

    def run_one(
        _options: RunOptions, bound: BoundCase, _set: dict[str, Scalar], _dir: RunDir
    ) -> Result:
        kernels.append(bound.topology.guests["g1"].kernel)
        return losing(recorded, 257)

    run_gates(args, run_one=run_one)

    assert set(kernels) == {"kernel", f"kernel+{module}"}
