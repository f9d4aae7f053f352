"""A judged run to the figures that builds are compared by, or why there is none.

Every figure of the run's result is taken; which of them are judged, the case says. Times are in
ms. A time that is known up to the clocks' errors is its middle, with half its width as error.

Neighbours: ``harness.report`` has the result; ``harness.case`` declares endpoints; ``seen``
makes a run of these.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from harness.case import Endpoint
from harness.report import Result
from harness.report.attributed import CountRange, SecondsRange
from harness.report.result import StreamResult
from harness.report.tcp_result import TcpResult


class Part(BaseModel):
    """Base of every part of a gate's record."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Figure(Part):
    """One figure of one run; ``value`` null where nothing can be told, and ``why`` says why."""

    unit: str
    value: float | None = None
    error: float = Field(0.0, description="how far it may be off, in its unit")
    why: str = ""


def figures(result: Result) -> dict[str, Figure]:
    """All figures of a run, by their names: ``inbound.lost``, ``migration.downtime``."""
    found: dict[str, Figure] = {}
    for stream in result.streams:
        for metric, figure in _of_stream(stream):
            found[f"{stream.stream}.{metric}"] = figure
    for tcp in result.tcp:
        for metric, figure in _of_tcp(tcp):
            found[f"{tcp.stream}.{metric}"] = figure
    if result.migrations:
        for metric, figure in _of_migrations(result):
            found[f"migration.{metric}"] = figure
    return found


def trouble_with(endpoint: Endpoint, found: dict[str, Figure]) -> str:
    """Why a run says nothing of an endpoint; empty when it does."""
    figure = found.get(endpoint.name)
    if figure is None:
        return f"{endpoint.name}: the run has no such figure"
    if figure.value is None:
        return f"{endpoint.name}: {figure.why}"
    # A margin of 0 is of a figure that has no error worth the name; it is not held against it.
    if endpoint.margin and figure.error > endpoint.margin:
        return (
            f"{endpoint.name}: known to {figure.error:.3g} {figure.unit} only, and the margin is "
            f"{endpoint.margin:g} {endpoint.unit}"
        )
    return ""


def _of_stream(stream: StreamResult) -> Iterator[tuple[str, Figure]]:
    doubt = stream.doubt
    yield "lost", _figure("packets", stream.lost, doubt)
    yield "reordered", _figure("packets", stream.reordered, doubt)
    yield "duplicates", _figure("packets", stream.duplicates, doubt)
    yield "interruption", _figure("ms", _ms(stream.interruption_by_time_s), doubt)
    yield "interruption_by_loss", _figure("ms", _ms(stream.interruption_by_loss_s), doubt)
    yield "impaired", _figure("ms", _ms(stream.impaired_s), doubt)
    variation = stream.by_phase.delay_variation_p999_s
    yield "delay_variation", _time("ms", variation, doubt or stream.by_phase.doubt)


def _of_tcp(tcp: TcpResult) -> Iterator[tuple[str, Figure]]:
    yield "stall", _time("ms", tcp.longest_stall_s, tcp.doubt)
    yield "stalls", _count("stalls", tcp.stall_count, tcp.doubt)
    yield "retransmitted", _figure("segments", tcp.retransmitted, tcp.doubt)


def _of_migrations(result: Result) -> Iterator[tuple[str, Figure]]:
    yield "downtime", _largest([one.downtime_ms for one in result.migrations])
    yield "total_time", _largest([one.total_time_ms for one in result.migrations])
    yield "primary_back", _primary_back(result)


def _largest(values: list[int | None]) -> Figure:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Figure(unit="ms", why="QEMU told none of a migration")
    return Figure(unit="ms", value=max(known))


def _primary_back(result: Result) -> Figure:
    """The longest phase `return` of all migrations."""
    lengths: list[tuple[float, float]] = []
    for number in range(1, len(result.migrations) + 1):
        phase = next(
            (one for one in result.phases if (one.phase, one.migration) == ("return", number)), None
        )
        begin, end = (phase.begin, phase.end) if phase else (None, None)
        if (
            begin is None
            or end is None
            or not (begin.recorded and end.recorded)
            or begin.from_s is None
            or begin.to_s is None
            or end.from_s is None
            or end.to_s is None
        ):
            return Figure(unit="ms", why=f"migration {number} has no return of a primary on record")
        low, high = end.from_s - begin.to_s, end.to_s - begin.from_s
        lengths.append(((low + high) / 2, (high - low) / 2))
    longest, error = max(lengths)
    return Figure(unit="ms", value=_rounded(longest * 1e3), error=_rounded(error * 1e3))


def _figure(unit: str, value: float | None, doubt: str) -> Figure:
    """A value beside a doubt proves nothing, and is none."""
    if doubt or value is None:
        return Figure(unit=unit, why=doubt or "the records do not give it")
    return Figure(unit=unit, value=value)


def _time(unit: str, length: SecondsRange | None, doubt: str) -> Figure:
    if doubt or length is None:
        return Figure(unit=unit, why=doubt or "the records do not give it")
    if length.at_most is None:
        return Figure(unit=unit, why=f"at least {length.at_least:g}s: it had no end on record")
    return _between(unit, length.at_least * 1e3, length.at_most * 1e3)


def _count(unit: str, count: CountRange | None, doubt: str) -> Figure:
    if doubt or count is None:
        return Figure(unit=unit, why=doubt or "the records do not give it")
    return _between(unit, count.at_least, count.at_most)


def _between(unit: str, low: float, high: float) -> Figure:
    return Figure(unit=unit, value=_rounded((low + high) / 2), error=_rounded((high - low) / 2))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else _rounded(seconds * 1e3)


def _rounded(value: float) -> float:
    """To a millionth, a nanosecond of ms: sums of equal times are to be equal."""
    return round(value, 6)
