"""A TCP stream as files of a run directory and a fact, to be bent by each test.

Times are milliseconds on the run's clock, octets come at a thousand a millisecond. The stream
flows from 10 to 3000; in the good story of ``story`` unplug is 1002 to 1250, precopy to 2000,
stop-and-copy to 2020, return to 2600.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.case import bind, load_case
from harness.observe import Fact, TcpFact
from harness.record import RunDir
from harness.report.tcp import measured_tcp
from harness.traffic.tcprecord import Role, TcpRecord, TcpRow, TcpTotals, write_tcp_record
from harness.verdict import Evidence, Finding, judge
from tests.case.files import HEAD, STEPS, write
from tests.verdict.story import MS, PAIR, good_facts

OCTETS = 2_990_000
FACT = TcpFact(
    t_ns=3100 * MS,
    stream="down",
    sender="client",
    receiver="g1",
    rate=8_000_000,
    flowing_ns=10 * MS,
    stopped_ns=3000 * MS,
    sender_record="streams/down.tcp-sender.json",
    sink_record="streams/down.tcp-sink.json",
    sender_clock="run",
    sink_clock="run",
    complete=True,
)


def account(
    role: Role,
    *,
    stalls: Sequence[tuple[float, float]] = (),
    silent: float = 0,
    segments: int = 0,
    end: float = 3000,
    **totals: Any,
) -> TcpRecord:
    """One end's record. ``stalls`` are (begin, end); ``silent``: from when on to the end."""
    given = TcpTotals(
        connected=True, whole=role == "sink" and not silent, broken=0, octets=OCTETS, corrupt=0,
        first_corrupt=-1, unacknowledged=0, stalls=0, longest_stall_ns=0,
        retransmitted=segments, moved_ns=0,
    )  # fmt: skip
    rows = [TcpRow(int(last * MS), "stall", int((last - first) * 1000)) for first, last in stalls]
    if silent:
        rows.append(TcpRow(int(end * MS), "silence", int((end - silent) * 1000)))
    lengths = [row.value * 1000 for row in rows]
    given = replace(given, stalls=len(rows), longest_stall_ns=max(lengths, default=0))
    given = replace(given, **totals)
    rows.append(TcpRow(int(end * MS), "progress", given.octets))
    if segments:
        rows.append(TcpRow(int(end * MS), "retransmitted", segments))
    return TcpRecord(1001, role, "run", given, tuple(rows))


@dataclass
class TcpStory:
    """A run with one TCP stream ``down``; ``others`` are more streams of the case."""

    folder: pathlib.Path
    expect: str
    sender: TcpRecord = field(default_factory=lambda: account("sender"))
    sink: TcpRecord = field(default_factory=lambda: account("sink"))
    fact: TcpFact | None = FACT
    flow: str = "rate: 8Mbit/s"
    rest: str = ""
    facts: dict[str, Fact] = field(default_factory=good_facts)
    others: str = ""

    @property
    def run(self) -> RunDir:
        return RunDir(self.folder / "run")

    def record(self) -> None:
        """Write what the run leaves of the stream."""
        run = RunDir.create(self.folder / "run")
        write_tcp_record(run.file(FACT.sender_record), self.sender)
        write_tcp_record(run.file(FACT.sink_record), self.sink)

    def evidence(self) -> Evidence:
        """What is known of the run; its records are those on disk, if there are any."""
        if not self.run.path.exists():
            self.record()
        down = f"{{from: client, to: g1, tcp: {{{self.flow}}}{self.rest}}}"
        traffic = f"traffic:\n  down: {down}\n{self.others}"
        expect = f"expect: {{streams: {self.expect}}}\n"
        bound = bind(load_case(write(self.folder, HEAD + traffic + STEPS + expect)))
        facts = [*self.facts.values(), *([self.fact] if self.fact else [])]
        tcp = {
            name: measured_tcp(self.run, name, terms, facts) for name, terms in bound.tcp.items()
        }
        return Evidence(bound, tuple(facts), (PAIR,), tcp=tcp)

    def findings(self) -> list[Finding]:
        """What became of the expectations on streams."""
        found = judge(self.evidence()).findings
        return [one for one in found if one.path.startswith("expect.streams.")]


def judged(folder: pathlib.Path, bounds: str, **changes: Any) -> Finding:
    """The one finding on ``down: {bounds}``."""
    (finding,) = TcpStory(folder, f"{{down: {{{bounds}}}}}", **changes).findings()
    return finding
