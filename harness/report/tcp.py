"""The two records of a TCP stream to its stalls, on the run's clock.

What is wrong with the records does not stop the judging: it becomes the reason why nothing
can be told of this stream.

A receiver in a guest measures by a clock that stands still while the guest is stopped. Its
stalls are put on the run's clock, and each stop of the guest that lies in none of them is
one that it cannot have seen: as long as the stop, and at most ``STALL_NS`` longer.

Neighbours: ``harness.traffic.tcprecord`` has the files' format, ``harness.verdict.guest_clock``
the guests' clocks; ``harness.verdict.tcp`` judges, ``tcp_result`` shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from harness.case import Stream
from harness.errors import RecordError
from harness.measure.bounds import FOREVER
from harness.observe import Fact, TcpFact
from harness.record import RunDir
from harness.traffic.tcprecord import (
    ROW_KINDS,
    STALL_NS,
    Role,
    TcpRecord,
    TcpRow,
    read_tcp_record,
)
from harness.verdict import MeasuredTcp
from harness.verdict.evidence import Stall
from harness.verdict.guest_clock import DRIFT, clock_map, stops_of

_US = 1_000
_SECOND = 1_000_000_000


def measured_tcp(run_dir: RunDir, name: str, terms: Stream, facts: Iterable[Fact]) -> MeasuredTcp:
    """A TCP stream's fact, records and stalls, or the problem that keeps it from having them."""
    every = tuple(facts)
    found = [fact for fact in every if isinstance(fact, TcpFact) and fact.stream == name]
    if not found:
        return MeasuredTcp(name, None)
    fact = found[-1]
    if len(found) > 1:
        return MeasuredTcp(name, fact, problem=f"it was recorded {len(found)} times")
    if other := _other_terms(fact, terms):
        return MeasuredTcp(name, fact, problem=other)
    try:
        sender = _read(run_dir, fact, "sender")
        sink = _read(run_dir, fact, "sink")
        _must_be_of_one_stream(sender, sink)
        return _measured(fact, sender, sink, every)
    except RecordError as error:
        # Paths of another machine would make the same run read differently there.
        return MeasuredTcp(name, fact, problem=error.message.replace(f"{run_dir.path}/", ""))


def _other_terms(fact: TcpFact, terms: Stream) -> str:
    """Which term of the record is not the case's; a verdict on other terms means nothing."""
    flow = terms.tcp
    pairs = {
        "protocol": ("tcp", terms.protocol),
        "sender": (fact.sender, terms.sender),
        "receiver": (fact.receiver, terms.receiver),
        "rate": (fact.rate, flow.rate if flow else 0),
        "octets": (fact.octets, flow.total if flow else None),
        "DSCP": (fact.dscp, terms.dscp),
        "IP version": (fact.ip_version, terms.ip or fact.ip_version),
    }
    wrong = [
        f"{what} {recorded} instead of {wanted}"
        for what, (recorded, wanted) in pairs.items()
        if recorded != wanted
    ]
    return "it was recorded on other terms than the case's: " + ", ".join(wrong) if wrong else ""


# -- the records ---------------------------------------------------------------------------


def _read(run_dir: RunDir, fact: TcpFact, role: Role) -> TcpRecord:
    """One end's record; RecordError when it is missing, cut off or contradicts itself."""
    name, clock = (
        (fact.sender_record, fact.sender_clock)
        if role == "sender"
        else (fact.sink_record, fact.sink_clock)
    )
    record = read_tcp_record(run_dir.recorded(name))
    if (record.role, record.clock) != (role, clock):
        raise RecordError(
            f"{name}: is a {record.role}'s on the {record.clock}'s clock, not a {role}'s on the "
            f"{clock}'s"
        )
    if record.missing:
        raise RecordError(f"{name}: {record.missing} rows found no room in the guest's memory")
    if unlike := _contradiction(record):
        raise RecordError(f"{name}: contradicts itself: {unlike}")
    return record


def _contradiction(record: TcpRecord) -> str:
    """What of a record's rows and totals cannot both be so."""
    totals, rows = record.totals, record.rows
    progress = sum(row.value for row in rows if row.kind == "progress")
    longest = max((row.value for row in record.stalls()), default=0)
    segments = [row.value for row in rows if row.kind == "retransmitted"]
    odd = [row.kind for row in rows if row.kind not in ROW_KINDS]
    backwards = [late for early, late in pairwise(rows) if late.t_ns < early.t_ns]
    for wrong, what in (
        (odd, f"rows of kind {', '.join(sorted(set(odd)))}"),
        (backwards, "its clock ran backwards"),
        (any(row.value < 0 for row in rows), "a row with a negative value"),
        (totals.octets < 0 or totals.unacknowledged < 0, "fewer than no octets"),
        (progress != totals.octets, f"{progress} octets in rows, {totals.octets} in all"),
        (
            len(record.stalls()) != totals.stalls,
            f"{len(record.stalls())} stalls in rows, {totals.stalls} in all",
        ),
        (
            longest != totals.longest_stall_ns // _US,
            f"the longest stall is {longest} us in rows, {totals.longest_stall_ns} ns in all",
        ),
        (
            (segments[-1] if segments else 0) != totals.retransmitted,
            f"{segments[-1:] or 'no'} retransmissions in rows, {totals.retransmitted} in all",
        ),
        (
            (totals.corrupt > 0) != (totals.first_corrupt >= 0),
            f"{totals.corrupt} wrong octets, the first at {totals.first_corrupt}",
        ),
        (totals.octets > 0 and not totals.connected, "octets without a connection"),
    ):
        if wrong:
            return what
    return ""


def _must_be_of_one_stream(sender: TcpRecord, sink: TcpRecord) -> None:
    if sender.stream_id != sink.stream_id:
        raise RecordError(
            f"its sender's record is of stream id {sender.stream_id}, its receiver's of "
            f"{sink.stream_id}: records of two streams"
        )
    if sink.totals.octets > sender.totals.octets:
        raise RecordError(
            f"its records contradict each other: {sink.totals.octets} octets received, "
            f"{sender.totals.octets} sent"
        )


# -- the stalls ----------------------------------------------------------------------------


def _measured(
    fact: TcpFact, sender: TcpRecord, sink: TcpRecord, facts: tuple[Fact, ...]
) -> MeasuredTcp:
    blocked = sum(row.value for row in sender.stalls()) * _US
    unexplained = max(0, sender.totals.moved_ns - blocked)
    own = unexplained + STALL_NS
    ends, errors = _on_run_clock(sender.rows[-1:], fact.sender_clock, fact.sender, facts)
    ended = ends[0] - errors[0] if ends else fact.stopped_ns
    return MeasuredTcp(
        fact.stream,
        fact,
        sender,
        sink,
        stalls=tuple(_stalls(fact, sink, facts, own)),
        flowing_ns=fact.flowing_ns,
        ended_ns=min(ended, fact.stopped_ns) if fact.octets is None else ended,
        unexplained_ns=unexplained,
    )


def _on_run_clock(
    rows: tuple[TcpRow, ...],
    clock: str,
    owner: str,
    facts: tuple[Fact, ...],
    *,
    begins: bool = False,
) -> tuple[list[int], list[int]]:
    """When the rows were noted, or what they tell of began, and the errors of that."""
    stamps = [row.t_ns - (row.value * _US if begins else 0) for row in rows]
    if clock == "run" or not stamps:
        return stamps, [0] * len(stamps)
    times, errors = clock_map(owner, facts).to_run(np.array(stamps, dtype=np.int64))
    return times.tolist(), errors.tolist()


def _stalls(fact: TcpFact, sink: TcpRecord, facts: tuple[Fact, ...], own: int) -> list[Stall]:
    """What the receiver saw, and what it cannot have seen, in the order of their begins."""
    rows = sink.stalls()
    begins = _on_run_clock(rows, fact.sink_clock, fact.receiver, facts, begins=True)
    ends = _on_run_clock(rows, fact.sink_clock, fact.receiver, facts)
    slower = DRIFT if fact.sink_clock == "guest" else 0.0
    stops = {guest: stops_of(guest, facts) for guest in {fact.sender, fact.receiver}}
    found = []
    for row, begin, begin_err, end, end_err in zip(rows, *begins, *ends, strict=True):
        silent = row.kind == "silence"
        stall = Stall(
            from_lo=begin - begin_err - _US,  # a row's length is in whole us
            from_hi=begin + begin_err,
            to_lo=end - end_err,
            to_hi=FOREVER if silent else end + end_err,
            least_ns=int(row.value * _US * (1 - slower)),
            own_ns=own,
            most_ns=None if silent else end + end_err - begin + begin_err + _US,
            stops=tuple(
                (stop.from_ns, stop.to_ns)
                for its in stops.values()
                for stop in its
                if begin + begin_err <= stop.from_ns and stop.to_ns <= end - end_err
            ),
        )
        found.append(stall)
    if fact.sink_clock == "guest":
        seen = {stop for stall in found for stop in stall.stops}
        found += [
            Stall(
                from_lo=stop.earliest_ns - STALL_NS, from_hi=stop.from_ns,
                to_lo=stop.to_ns, to_hi=stop.latest_ns + STALL_NS,
                least_ns=0, own_ns=0, most_ns=stop.latest_ns - stop.earliest_ns + STALL_NS,
                stops=((stop.from_ns, stop.to_ns),),
            )
            for stop in stops[fact.receiver]
            if (stop.from_ns, stop.to_ns) not in seen
            and fact.flowing_ns <= stop.from_ns
            and stop.to_ns <= fact.stopped_ns
        ]  # fmt: skip
    return sorted(found, key=lambda one: one.from_lo)
