"""The two records of a stream to its metrics, both on the run's clock.

What is wrong with a stream's records does not stop the judging: it becomes the reason why
nothing can be told of this stream.

Neighbours: ``harness.traffic.records`` has the files' format, ``harness.measure`` the
definitions, ``harness.verdict.guest_clock`` the guests' clocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from harness.case import Stream
from harness.errors import RecordError
from harness.measure import StreamMetrics, Trace, measure_stream
from harness.observe import Fact, StreamFact
from harness.record import RunDir
from harness.traffic.records import Records, read_records
from harness.verdict import MeasuredStream
from harness.verdict.guest_clock import clock_map

_SHUFFLED_NS = 100_000_000
"""By how much the stamp of an arrival may lie before that of the arrival recorded before it:
kernels stamp on several processors, and a guest under emulation was seen 33 ms apart."""


def measured(run_dir: RunDir, name: str, terms: Stream, facts: Iterable[Fact]) -> MeasuredStream:
    """A stream's fact and metrics, or the problem that keeps it from having them."""
    every = tuple(facts)
    found = [fact for fact in every if isinstance(fact, StreamFact) and fact.stream == name]
    if not found:
        return MeasuredStream(name, None, None)
    fact = found[-1]
    if len(found) > 1:
        return MeasuredStream(name, fact, None, f"it was recorded {len(found)} times")
    if other := _other_terms(fact, terms):
        return MeasuredStream(name, fact, None, other)
    try:
        return MeasuredStream(name, fact, _metrics(run_dir, fact, every))
    except RecordError as error:
        # Paths of another machine would make the same run read differently there.
        return MeasuredStream(name, fact, None, error.message.replace(f"{run_dir.path}/", ""))


def _other_terms(fact: StreamFact, terms: Stream) -> str:
    """Which term of the record is not the case's; a verdict on other terms means nothing."""
    pairs = {
        "protocol": (fact.protocol, terms.protocol),
        "sender": (fact.sender, terms.sender),
        "receiver": (fact.receiver, terms.receiver),
        "rate": (fact.rate, terms.flow.rate),
        "size": (fact.size, terms.flow.size),
        "waiting time": (fact.tmax_ns, round(terms.waiting_time * 1e9)),
        "IP version": (fact.ip_version, terms.ip or fact.ip_version),
        "DSCP": (fact.dscp, terms.dscp),
        "VLAN": (fact.vlan, terms.vlan),
        "count": (fact.count, terms.flow.count),
        "duration": (fact.duration_ns, _ns(terms.flow.duration)),
    }
    wrong = [
        f"{what} {recorded} instead of {wanted}"
        for what, (recorded, wanted) in pairs.items()
        if recorded != wanted
    ]
    return "it was recorded on other terms than the case's: " + ", ".join(wrong) if wrong else ""


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)


def _metrics(run_dir: RunDir, fact: StreamFact, facts: tuple[Fact, ...]) -> StreamMetrics:
    sends = read_records(run_dir.recorded(fact.sends))
    arrivals = read_records(run_dir.recorded(fact.arrivals))
    if sends.stream_id != arrivals.stream_id:
        raise RecordError(
            f"its sends are of stream id {sends.stream_id}, "
            f"its arrivals of {arrivals.stream_id}: records of two streams"
        )
    # The replies to an echo arrive where the requests were sent.
    at = fact.sender if fact.protocol == "icmp-echo" else fact.receiver
    sent, send_err = _on_run_clock(sends, fact.sends, fact.sends_clock, fact.sender, facts)
    came, come_err = _on_run_clock(arrivals, fact.arrivals, fact.arrivals_clock, at, facts)
    _must_not_run_backwards(fact.sends, sends, 0)
    _must_not_run_backwards(fact.arrivals, arrivals, _SHUFFLED_NS)
    return measure_stream(
        sent,
        came,
        rate=fact.rate,
        tmax_ns=fact.tmax_ns,
        clock_err_ns=send_err + come_err,
        own_sends=Trace(sends.seq, sends.t_ns),
    )


def _must_not_run_backwards(name: str, records: Records, allowed_ns: int) -> None:
    """Times fall from one record to the next only as far as queues can shuffle them."""
    falls = -np.diff(records.t_ns)
    if falls.size and falls.max() > allowed_ns:
        at = int(np.argmax(falls))
        raise RecordError(
            f"{name}: its clock ran backwards by {int(falls[at]) / 1e6:.3f}ms after packet "
            f"{int(records.seq[at])}",
            hint="nothing can be told of a stream whose clock was set",
        )


def _on_run_clock(
    records: Records,
    name: str,
    clock: Literal["run", "guest"],
    owner: str,
    facts: tuple[Fact, ...],
) -> tuple[Trace, int]:
    """The records as a trace on the run's clock, and the error of its times in ns."""
    if records.clock != clock:
        raise RecordError(f"{name}: has times of the {records.clock}'s clock, not the {clock}'s")
    if clock == "run":
        return Trace(records.seq, records.t_ns), 0
    times, error = clock_map(owner, facts).to_run(records.t_ns)
    return Trace(records.seq, times, error), int(error.max()) if error.size else 0
