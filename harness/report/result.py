"""The result of a run as data: what ``result.json`` holds and every other report shows.

``schema`` is raised whenever a key changes its meaning or goes away; new keys may come at
any time. Units are in the names. Nothing is decided here: the verdict's own words are
taken over.

Neighbours: made from ``judging.JudgedRun``; ``text`` and ``junit`` render it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from harness.case import Stream
from harness.observe import Accelerator, GuestStart, StepFact
from harness.record import Versions
from harness.report.attributed import (
    AttributionResult,
    PhaseResult,
    attribution_result,
    phase_results,
)
from harness.report.attributed import Part as _Part
from harness.report.judging import JudgedRun
from harness.report.paths import StreamPathsResult, paths_result
from harness.report.probe_load import ProbeLoadResult, probe_loads
from harness.report.tcp_result import TcpResult, tcp_results
from harness.verdict import Evidence, MeasuredStream, Migration, Outcome, Pair
from harness.verdict.links import PairView
from harness.verdict.migrations import host_of, states
from harness.verdict.netdevs import pair_at
from harness.verdict.streams import doubt_about


class FindingResult(_Part):
    """One expectation and what became of it."""

    expectation: str
    path: str = Field(description="in the case, or starting with `invariants.`")
    place: str = Field(description="file:line in the case; empty for an invariant")
    outcome: Outcome
    reason: str


class StreamResult(_Part):
    """One stream's terms and counts; counts are null where the records do not give them."""

    stream: str
    protocol: Literal["udp", "icmp-echo"]
    sender: str
    receiver: str
    rate_per_s: float
    size_octets: int
    waiting_time_s: float = Field(description="Tmax: later arrivals count as lost")
    rate_tolerance: float
    ip_version: Literal[4, 6] | None = None
    dscp: int = 0
    vlan: int | None = Field(None, description="802.1Q tag; null: untagged")
    count: int | None = Field(None, description="packets after which it was to end by itself")
    duration_s: float | None = Field(None, description="after which it was to end by itself")
    dscp_changed: int | None = Field(
        None, description="arrivals with another DSCP; null where nobody could look (in a guest)"
    )
    doubt: str = Field(description="why the counts prove nothing; empty when they do")
    sent: int | None = None
    received: int | None = Field(None, description="distinct packets within the waiting time")
    lost: int | None = Field(None, description="RFC 7680: sent - received")
    late: int | None = Field(None, description="arrivals after the waiting time")
    loss_ratio: float | None = Field(None, description="RFC 7680: lost / sent")
    longest_loss_period: int | None = Field(None, description="RFC 3357, packets")
    reordered: int | None = Field(None, description="RFC 4737")
    duplicates: int | None = Field(None, description="RFC 5560: extra copies")
    interruption_by_loss_s: float | None = Field(None, description="RFC 6201: lost / rate")
    interruption_by_time_s: float | None = Field(
        None, description="RFC 6413: largest gap between two arrivals less one period"
    )
    impaired_s: float | None = Field(
        None, description="from the first packet lost, reordered or duplicated to the last"
    )
    send_rate_per_s: float | None = None
    largest_send_gap_s: float | None = None
    clock_error_s: float | None = Field(
        None, description="by which arrivals and sends may be apart on the run's clock"
    )
    by_phase: AttributionResult
    by_path: StreamPathsResult | None = Field(
        None, description="null: the stream goes through no failover pair"
    )


class LinkResult(_Part):
    """One netdev of a guest."""

    name: str
    driver: str | None
    mac: str
    master: str | None
    operstate: str


class PairResult(_Part):
    """A failover pair at a moment; ``known`` is false where nothing shows it."""

    guest: str
    standby_id: str
    moment: Literal["start", "precopy", "end"]
    host: str = Field(description="where the guest was, empty where that is not known")
    known: bool
    failover: tuple[LinkResult, ...] = ()
    standby: tuple[LinkResult, ...] = ()
    primary: tuple[LinkResult, ...] = ()


class MigrationResult(_Part):
    """One migration. The times are QEMU's own (`query-migrate` of the source)."""

    step: str
    guest: str
    source: str
    destination: str
    source_states: tuple[str, ...]
    destination_states: tuple[str, ...]
    downtime_ms: int | None = None
    total_time_ms: int | None = None
    setup_time_ms: int | None = None


class MachineResult(_Part):
    """A machine of the lab, and what it ran on."""

    machine: str
    accelerator: str
    evidence: str


class GuestStartResult(_Part):
    """How a guest came to run. ``state`` is the digest that names the state it was loaded from,
    ``made`` when that was made (UTC, ISO 8601); ``why`` says why it booted."""

    guest: str
    host: str
    how: Literal["booted", "loaded"]
    state: str
    made: str
    why: str


class Result(_Part):
    """A whole run, judged."""

    schema_version: Literal[1] = Field(1, alias="schema")
    claim: str
    case_file: str
    topology_file: str
    variant: str
    parameters: dict[str, bool | int | float | str]
    choices: dict[str, str | dict[str, str]] = Field(
        description="what was chosen in the place of what the topology says, by option"
    )
    started: str
    outcome: Outcome
    exit_code: int
    findings: tuple[FindingResult, ...]
    netdevs: tuple[PairResult, ...]
    migrations: tuple[MigrationResult, ...]
    phases: tuple[PhaseResult, ...]
    streams: tuple[StreamResult, ...]
    tcp: tuple[TcpResult, ...] = ()
    probe_load: tuple[ProbeLoadResult, ...] = ()
    guest_starts: tuple[GuestStartResult, ...] = ()
    machines: tuple[MachineResult, ...]
    versions: Versions

    def to_json(self) -> str:
        """``result.json``: the same run gives the same text."""
        return self.model_dump_json(indent=2, by_alias=True) + "\n"


def result_schema() -> dict[str, Any]:
    """The JSON Schema of ``result.json``."""
    return Result.model_json_schema(by_alias=True, mode="serialization")


def result_of(run: JudgedRun) -> Result:
    """All that the reports show of a judged run."""
    evidence, bound = run.evidence, run.evidence.bound
    return Result(
        schema=1,
        claim=bound.case.claim,
        case_file=run.info.case_file,
        topology_file=run.info.topology_file,
        variant=run.info.variant,
        parameters=dict(bound.parameters),
        choices=bound.choices.given(),
        started=run.info.started,
        outcome=run.verdict.outcome,
        exit_code=run.verdict.exit_code,
        findings=tuple(
            FindingResult(
                expectation=one.expectation,
                path=one.path,
                place=one.place,
                outcome=one.outcome,
                reason=one.reason,
            )
            for one in run.verdict.findings
        ),
        netdevs=tuple(_pairs(evidence)),
        migrations=tuple(_migration(evidence, one) for one in evidence.migrations),
        phases=phase_results(evidence),
        streams=tuple(
            _stream(evidence, name, terms, evidence.streams.get(name))
            for name, terms in bound.packets.items()
        ),
        tcp=tcp_results(evidence),
        probe_load=probe_loads(evidence),
        guest_starts=tuple(
            GuestStartResult(
                guest=fact.guest,
                host=fact.host,
                how=fact.how,
                state=fact.state,
                made=fact.made,
                why=fact.why,
            )
            for fact in evidence.facts
            if isinstance(fact, GuestStart)
        ),
        machines=tuple(
            MachineResult(
                machine=fact.machine, accelerator=fact.accelerator, evidence=fact.evidence
            )
            for fact in evidence.facts
            if isinstance(fact, Accelerator)
        ),
        versions=run.versions,
    )


def _pairs(evidence: Evidence) -> list[PairResult]:
    moments: tuple[Literal["start", "precopy", "end"], ...] = ("start", "precopy", "end")
    return [
        _pair(pair, moment, _host(evidence, pair.guest, moment), pair_at(evidence, moment, pair))
        for pair in evidence.pairs
        for moment in moments
        if moment != "precopy" or any(m.guest == pair.guest for m in evidence.migrations)
    ]


def _pair(
    pair: Pair, moment: Literal["start", "precopy", "end"], host: str, view: PairView | None
) -> PairResult:
    def links(role: Literal["failover", "standby", "primary"]) -> tuple[LinkResult, ...]:
        return tuple(
            LinkResult(
                name=link.name,
                driver=link.driver,
                mac=link.mac,
                master=link.master,
                operstate=link.operstate,
            )
            for link in (view.role(role) if view else ())
        )

    return PairResult(
        guest=pair.guest,
        standby_id=pair.standby,
        moment=moment,
        host=host,
        known=view is not None,
        failover=links("failover"),
        standby=links("standby"),
        primary=links("primary"),
    )


def _host(evidence: Evidence, guest: str, moment: str) -> str:
    """Where a guest was: at home, or where the last completed migration took it."""
    host = evidence.bound.topology.guests[guest].host
    if moment == "end":
        for migration in evidence.migrations:
            ended = [status for status, _ in states(evidence, migration, "source")][-1:]
            if migration.guest == guest and ended == ["completed"]:
                host = host_of(evidence, migration, "destination")
    return host


def _migration(evidence: Evidence, migration: Migration) -> MigrationResult:
    figures: dict[str, Any] = {}
    for fact in evidence.facts:
        if isinstance(fact, StepFact) and fact.step == migration.step and fact.phase == "end":
            told = fact.data.get("query-migrate")
            figures = told if isinstance(told, dict) else {}

    def figure(name: str) -> int | None:
        value = figures.get(name)
        return value if isinstance(value, int) else None

    return MigrationResult(
        step=migration.step,
        guest=migration.guest,
        source=host_of(evidence, migration, "source"),
        destination=host_of(evidence, migration, "destination"),
        source_states=tuple(word for word, _ in states(evidence, migration, "source")),
        destination_states=tuple(word for word, _ in states(evidence, migration, "destination")),
        downtime_ms=figure("downtime"),
        total_time_ms=figure("total-time"),
        setup_time_ms=figure("setup-time"),
    )


def _stream(
    evidence: Evidence, name: str, terms: Stream, measured: MeasuredStream | None
) -> StreamResult:
    fact = measured.fact if measured else None
    result = StreamResult(
        stream=name,
        protocol="udp" if terms.udp else "icmp-echo",
        sender=terms.sender,
        receiver=terms.receiver,
        rate_per_s=terms.flow.rate,
        size_octets=terms.flow.size,
        waiting_time_s=terms.waiting_time,
        rate_tolerance=terms.rate_tolerance,
        ip_version=fact.ip_version if fact else terms.ip,
        dscp=terms.dscp,
        vlan=terms.vlan,
        count=terms.flow.count,
        duration_s=terms.flow.duration,
        dscp_changed=fact.dscp_changed if fact else None,
        doubt=doubt_about(measured, terms),
        by_phase=attribution_result(evidence, name),
        by_path=paths_result(evidence, name),
    )
    if measured is None or measured.metrics is None:
        return result
    metrics = measured.metrics
    longest = metrics.loss.longest
    return result.model_copy(
        update={
            "sent": metrics.sent,
            "received": metrics.distinct,
            "lost": metrics.lost,
            "late": metrics.late,
            "loss_ratio": metrics.loss_ratio,
            "longest_loss_period": longest.length if longest else 0,
            "reordered": metrics.reordered,
            "duplicates": metrics.extra_copies,
            "interruption_by_loss_s": _seconds(metrics.interruption.by_loss_ns),
            "interruption_by_time_s": _seconds(metrics.interruption.by_time_ns),
            "impaired_s": _seconds(metrics.interruption.impaired_ns),
            "send_rate_per_s": metrics.send_rate,
            "largest_send_gap_s": _seconds(metrics.largest_send_gap_ns),
            "clock_error_s": metrics.clock_err_ns / 1e9,
        }
    )


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns / 1e9
