"""A run directory alone gives the verdict, the same one anywhere; damage is never a pass."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pytest

from harness.errors import RecordError
from harness.observe import FactLog, GuestClock, StreamFact
from harness.record import QemuVersion, RunDir, RunInfo, Versions
from harness.report import judge_run, render, result_of, write_reports
from harness.traffic.records import Records, write_records
from harness.verdict import Outcome
from tests.verdict.story import MS, Story
from tests.verdict.test_netdevs import WHOLE
from tests.verdict.test_streams import FACT

EXPECT = WHOLE + "  streams: {inbound: {lost: 2, reordered: 0, duplicates: 0}}\n"
LOST = (5, 6)


def records(run: RunDir, fact: StreamFact, *, sends: int = 1000, arrival_id: int = 1) -> None:
    """A thousand packets a second apart by 1 ms, two of them lost, each 2 ms on its way."""
    seq = np.arange(sends)
    kept = seq[~np.isin(seq, LOST)]
    write_records(run.file(fact.sends), Records(1, "run", seq * MS, seq))
    write_records(
        run.file(fact.arrivals),
        Records(arrival_id, fact.arrivals_clock, kept * MS + 2 * MS, kept),
    )


def recorded(folder: pathlib.Path, fact: StreamFact | None = FACT) -> RunDir:
    """A run directory as a run of the good migration leaves it."""
    source = folder / "source"
    source.mkdir()
    story = Story(source, EXPECT)
    evidence = story.evidence()
    run = RunDir.create(folder / "run")
    run.write(RunDir.CASE, (source / "case.yaml").read_bytes())
    run.write(RunDir.TOPOLOGY, (source / "lab.yaml").read_bytes())
    run.write_info(
        RunInfo(
            claim=evidence.bound.case.claim,
            case_file="cases/case.yaml",
            topology_file="cases/lab.yaml",
            variant="lab",
            started="2026-11-21T10:00:00+00:00",
        )
    )
    run.write_versions(
        Versions(
            harness="0.1.0",
            qemu=tuple(
                QemuVersion(guest="g1", host=host, version="10.0.13") for host in ("alpha", "beta")
            ),
        )
    )
    log = FactLog(run.facts_path)
    for one in story.facts.values():
        log.add(one)
    if fact is not None:
        log.add(fact)
        records(run, fact)
    log.close()
    return run


def lost(run: RunDir) -> tuple[Outcome, str]:
    found = judge_run(run).verdict.findings
    one = next(one for one in found if one.path == "expect.streams.inbound.lost")
    return one.outcome, one.reason


def test_a_run_is_judged_from_its_directory_alone(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)

    judged = judge_run(run)

    assert judged.verdict.outcome is Outcome.PASSED
    assert judged.verdict.findings[-3].place.startswith("cases/case.yaml:")
    assert lost(run) == (Outcome.PASSED, "2 of 1000 sent (0.2%)")


def test_the_reports_are_the_same_wherever_the_run_is(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    write_reports(run, result_of(judge_run(run)))
    elsewhere = tmp_path / "other" / "place"
    shutil.copytree(run.path, elsewhere)
    shutil.rmtree(run.path)
    shutil.rmtree(tmp_path / "source")

    result = result_of(judge_run(RunDir.open(elsewhere)))

    assert result.to_json() == (elsewhere / RunDir.RESULT).read_text()
    assert render(result) == (elsewhere / RunDir.REPORT).read_text()
    assert str(tmp_path) not in result.to_json()


def test_arrivals_on_the_guests_clock_are_put_on_the_runs(tmp_path: pathlib.Path) -> None:
    fact = FACT.model_copy(update={"arrivals_clock": "guest"})
    run = recorded(tmp_path, fact)
    log = FactLog(run.facts_path)
    for at in range(-100, 1200, 50):
        log.add(GuestClock(t_ns=at * MS, err_ns=MS, guest="g1", guest_ns=(at + 100) * MS))
    log.close()
    kept = np.array([number for number in range(1000) if number not in LOST])
    write_records(run.file(fact.arrivals), Records(1, "guest", kept * MS + 102 * MS, kept))

    judged = judge_run(run)

    metrics = judged.evidence.streams["inbound"].metrics
    assert metrics is not None
    assert metrics.lost == 2
    assert MS <= metrics.clock_err_ns <= 1.1 * MS


def damage_nothing_arrived(run: RunDir) -> None:
    run.file(FACT.arrivals).unlink()


def damage_cut_off(run: RunDir) -> None:
    path = run.file(FACT.arrivals)
    path.write_bytes(path.read_bytes()[:-30])


def damage_corrupt(run: RunDir) -> None:
    path = run.file(FACT.sends)
    data = bytearray(path.read_bytes())
    data[100] ^= 0xFF
    path.write_bytes(bytes(data))


def damage_other_stream(run: RunDir) -> None:
    records(run, FACT, arrival_id=2)


def damage_empty(run: RunDir) -> None:
    records(run, FACT, sends=0)


def damage_empty_capture(run: RunDir) -> None:
    none = np.empty(0, dtype=np.int64)
    write_records(run.file(FACT.arrivals), Records(1, "run", none, none))


def damage_other_terms(run: RunDir) -> None:
    path = run.file(RunDir.CASE)
    path.write_text(path.read_text().replace("rate: 1000/s", "rate: 10/s"))


def damage_clock_backwards(run: RunDir) -> None:
    """The sender's clock was set back by a millisecond and a half on its way."""
    seq = np.arange(1000)
    times = seq * MS - np.where(seq >= 500, 1_500_000, 0)
    write_records(run.file(FACT.sends), Records(1, "run", times, seq))


def damage_arrivals_backwards(run: RunDir) -> None:
    seq = np.arange(1000)
    times = seq * MS + 400 * MS - np.where(seq >= 500, 200 * MS, 0)
    write_records(run.file(FACT.arrivals), Records(1, "run", times, seq))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            damage_clock_backwards,
            "streams/inbound.sends: its clock ran backwards by 0.500ms after packet 499",
        ),
        (
            damage_arrivals_backwards,
            "streams/inbound.arrivals: its clock ran backwards by 199.000ms after packet 499",
        ),
        (damage_empty_capture, "of 1000 sent nothing arrived: it never flowed"),
        (damage_nothing_arrived, "streams/inbound.arrivals: the record is missing"),
        (damage_cut_off, "streams/inbound.arrivals: cut off after about "),
        (damage_corrupt, "streams/inbound.sends: damaged: "),
        (damage_other_stream, "its sends are of stream id 1, its arrivals of 2"),
        (damage_empty, "nothing was sent"),
        (
            damage_other_terms,
            "it was recorded on other terms than the case's: rate 1000.0 instead of 10.0",
        ),
    ],
)
def test_damaged_records_of_a_stream_cannot_be_told(
    damage: object, reason: str, tmp_path: pathlib.Path
) -> None:
    run = recorded(tmp_path)
    damage(run)  # type: ignore[operator]

    outcome, told = lost(run)

    assert outcome is Outcome.CANNOT_TELL
    assert told.startswith(reason)


def test_a_stream_without_a_fact_cannot_be_told(tmp_path: pathlib.Path) -> None:
    assert lost(recorded(tmp_path, None)) == (Outcome.CANNOT_TELL, "the stream left no record")


def test_a_guest_whose_clock_was_never_read_cannot_be_told(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path, FACT.model_copy(update={"arrivals_clock": "guest"}))

    assert lost(run) == (
        Outcome.CANNOT_TELL,
        "g1's clock was never read, so its stamps have no time",
    )


@pytest.mark.parametrize(
    "name",
    [
        RunDir.FACTS,
        RunDir.VERSIONS,
        RunDir.RUN,
        RunDir.CASE,
        RunDir.TOPOLOGY,
    ],
)
def test_a_run_that_lacks_a_record_is_not_judged(name: str, tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    run.file(name).unlink()

    with pytest.raises(RecordError):
        judge_run(run)


def test_facts_that_were_cut_off_are_not_judged(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    text = run.facts_path.read_text()
    run.facts_path.write_text(text[:-20])

    with pytest.raises(RecordError, match="not a fact"):
        judge_run(run)


def test_a_record_on_another_clock_than_its_fact_says_cannot_be_told(
    tmp_path: pathlib.Path,
) -> None:
    run = recorded(tmp_path)
    seq = np.arange(1000)
    write_records(run.file(FACT.arrivals), Records(1, "guest", seq * MS, seq))

    assert lost(run) == (
        Outcome.CANNOT_TELL,
        "streams/inbound.arrivals: has times of the guest's clock, not the run's",
    )


def test_parameters_from_the_command_line_are_kept_with_the_run(tmp_path: pathlib.Path) -> None:
    run = recorded(tmp_path)
    case = run.file(RunDir.CASE)
    text = case.read_text().replace("lost: 2", "lost: '${limit}'")
    case.write_text(text + "parameters: {limit: 0}\n")

    assert lost(run)[0] is Outcome.FAILED
    run.write_info(run.info().model_copy(update={"settings": {"limit": "<= 2"}}))
    assert lost(run)[0] is Outcome.PASSED
