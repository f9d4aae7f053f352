"""A run directory to a verdict: read the records, reduce them, ask ``verdict``.

The one place where files become evidence, used right after a run and whenever it is
reported again; so both give the same verdict. It decides nothing itself.

Neighbours: ``harness.record`` knows the files, ``streams`` reads a stream's records,
``harness.verdict`` judges; ``result`` makes the reports' data of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError

from harness.case import BoundCase, bind, load_case
from harness.errors import InputError, RecordError
from harness.plan import make_plan
from harness.record import RunDir, RunInfo, Versions
from harness.report.seen import read_seen_at
from harness.report.streams import measured
from harness.report.tcp import measured_tcp
from harness.topology import Choices
from harness.verdict import Evidence, Pair, Verdict, judge


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run's records and the verdict that follows from them."""

    info: RunInfo
    versions: Versions
    evidence: Evidence
    verdict: Verdict


def judge_run(run_dir: RunDir) -> JudgedRun:
    """Judge a run from its directory alone.

    Raises RecordError for a record that is missing, cut off or damaged. What is wrong with
    a single stream's records is a finding instead: the others can still be told.
    """
    info, versions, facts = run_dir.info(), run_dir.versions(), run_dir.facts()
    bound = bound_again(run_dir, info)
    evidence = Evidence(
        bound=bound,
        facts=facts,
        pairs=pairs_of(bound),
        qemu_versions={(one.guest, one.host): one.version for one in versions.qemu},
        qemu_words={(one.guest, one.host): one.words for one in versions.qemu},
        streams={
            name: measured(run_dir, name, terms, facts) for name, terms in bound.packets.items()
        },
        tcp={name: measured_tcp(run_dir, name, terms, facts) for name, terms in bound.tcp.items()},
        seen=read_seen_at(run_dir, facts),
    )
    return JudgedRun(info, versions, evidence, judge(evidence))


def bound_again(run_dir: RunDir, info: RunInfo) -> BoundCase:
    """The case of a run, bound to the topology of the run, under the names they had."""
    try:
        case = load_case(run_dir.file(RunDir.CASE), shown_as=info.case_file)
        bound = bind(
            case,
            info.variant,
            topology_path=run_dir.file(RunDir.TOPOLOGY),
            settings=info.settings,
            choices=Choices.model_validate(info.choices),
        )
    except (InputError, ValidationError) as error:
        raise RecordError(
            f"{run_dir.path}: the case or topology of the run cannot be read back",
            hint="the files were edited, or written by another version",
            evidence=str(error).splitlines(),
        ) from error
    return bound


def pairs_of(bound: BoundCase) -> tuple[Pair, ...]:
    """The failover pairs with their MAC addresses; those not given are derived by the plan."""
    return tuple(
        Pair(name, pair.standby, pair.primary, pair.mac.lower())
        for name, guest in make_plan(bound.topology).guests.items()
        for pair in guest.pairs
    )
