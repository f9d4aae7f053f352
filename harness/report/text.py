"""The report for people: the verdict first, then the reasons, then the numbers.

Neighbours: renders a ``Result``; decides nothing.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence

from harness.report.by_phase import by_phase
from harness.report.paths import by_path
from harness.report.probe_load import probe_load_lines
from harness.report.result import LinkResult, PairResult, Result, StreamResult
from harness.report.table import UNKNOWN, table
from harness.report.tcp_result import tcp_table
from harness.report.told import guest_start
from harness.topology import Choices
from harness.verdict import Outcome

_WORD = {
    Outcome.PASSED: "PASSED",
    Outcome.FAILED: "FAILED",
    Outcome.CANNOT_TELL: "CANNOT TELL",
}


def render(result: Result, run_dir: pathlib.Path | None = None) -> str:
    """The whole report, ending in a newline."""
    blocks = [
        _head(result),
        _findings(result),
        _netdevs(result),
        _streams(result),
        tcp_table(result.tcp),
        by_phase([(one.stream, one.by_phase) for one in result.streams]),
        by_path([(one.stream, one.by_path) for one in result.streams]),
        _migrations(result),
        probe_load_lines(result.probe_load),
        _software(result),
    ]
    if run_dir is not None:
        blocks.append([f"Run directory: {run_dir}"])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def reasons(result: Result) -> str:
    """Only what did not pass, for a failed test."""
    lines = [f"{_WORD[result.outcome]}: {result.claim} ({result.variant})"]
    for finding in result.findings:
        if finding.outcome is not Outcome.PASSED:
            lines += _finding(finding.expectation, finding.place, finding.outcome, finding.reason)
    return "\n".join(lines) + "\n"


def _head(result: Result) -> list[str]:
    counts = {
        outcome: sum(finding.outcome is outcome for finding in result.findings)
        for outcome in Outcome
    }
    told = ", ".join(
        f"{count} {_WORD[outcome].lower()}" for outcome, count in counts.items() if count
    )
    lines = [
        f"{_WORD[result.outcome]}: {result.claim}",
        f"  case {result.case_file}, topology {result.topology_file} ({result.variant}), "
        f"{result.started}",
    ]
    if result.parameters:
        values = ", ".join(f"{name}={value}" for name, value in result.parameters.items())
        lines.append(f"  parameters {values}")
    if result.choices:
        lines.append(f"  chosen {_chosen(result)}")
    lines.append(f"  {told}")
    return lines


def _chosen(result: Result) -> str:
    """What was chosen in the place of what the topology says, as on the command line."""
    return " ".join(Choices.model_validate(result.choices).options())


def _findings(result: Result) -> list[str]:
    lines = ["Expectations"]
    for finding in result.findings:
        lines += _finding(finding.expectation, finding.place, finding.outcome, finding.reason)
    return lines


def _finding(expectation: str, place: str, outcome: Outcome, reason: str) -> Iterator[str]:
    """One line; the reason follows where something did not pass."""
    yield f"  {_WORD[outcome]:<11}  {expectation}" + (f"  [{place}]" if place else "")
    if outcome is not Outcome.PASSED:
        yield f"               {reason}"


def _netdevs(result: Result) -> list[str]:
    if not result.netdevs:
        return []
    rows = [("guest", "pair", "moment", "host", "failover", "standby", "primary")]
    rows += [
        (pair.guest, pair.standby_id, pair.moment, pair.host or UNKNOWN, *_roles(pair))
        for pair in result.netdevs
    ]
    return ["Netdevs, as the guest sees them", *table(rows)]


def _roles(pair: PairResult) -> tuple[str, str, str]:
    if not pair.known:
        return UNKNOWN, UNKNOWN, UNKNOWN
    return _links(pair.failover), _links(pair.standby), _links(pair.primary)


def _links(links: Sequence[LinkResult]) -> str:
    return (
        " + ".join(f"{link.name} {link.driver or UNKNOWN} {link.operstate}" for link in links)
        or "absent"
    )


def _streams(result: Result) -> list[str]:
    if not result.streams:
        return []
    rows: list[tuple[str, ...]] = [
        (
            "stream",
            "from",
            "to",
            "protocol",
            "sent",
            "received",
            "lost",
            "loss",
            "longest loss",
            "reordered",
            "duplicates",
            "interruption",
            "by loss",
        )
    ]
    rows += [_stream(stream) for stream in result.streams]
    lines = ["Streams", *table(rows)]
    for stream in result.streams:
        lines.append(
            f"  {stream.stream}: {stream.rate_per_s:g}/s of {stream.size_octets} octets"
            f"{_special(stream)}, waiting time {stream.waiting_time_s:g}s, rate tolerance "
            f"{stream.rate_tolerance * 100:g}%"
            + (
                f", largest gap between two sends {_ms(stream.largest_send_gap_s)}"
                if stream.largest_send_gap_s is not None
                else ""
            )
        )
        if stream.dscp_changed:
            lines.append(
                f"    {stream.dscp_changed} packets of {stream.stream} arrived with another DSCP "
                f"than {stream.dscp}"
            )
        if stream.doubt:
            lines.append(f"    nothing can be told of {stream.stream}: {stream.doubt}")
    return lines


def _special(stream: StreamResult) -> str:
    """The terms that are not those of a plain, endless IPv4 stream."""
    told = [
        "IPv6" if stream.ip_version == 6 else "",
        f"DSCP {stream.dscp}" if stream.dscp else "",
        f"VLAN {stream.vlan}" if stream.vlan is not None else "",
        f"{stream.count} packets" if stream.count is not None else "",
        f"for {stream.duration_s:g}s" if stream.duration_s is not None else "",
    ]
    return "".join(f", {one}" for one in told if one)


def _stream(stream: StreamResult) -> tuple[str, ...]:
    def count(value: int | None) -> str:
        return UNKNOWN if value is None else str(value)

    ratio = UNKNOWN if stream.loss_ratio is None else f"{stream.loss_ratio * 100:.3g}%"
    return (
        stream.stream,
        stream.sender,
        stream.receiver,
        stream.protocol,
        count(stream.sent),
        count(stream.received),
        count(stream.lost),
        ratio,
        count(stream.longest_loss_period),
        count(stream.reordered),
        count(stream.duplicates),
        _ms(stream.interruption_by_time_s),
        _ms(stream.interruption_by_loss_s),
    )


def _ms(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value * 1e3:.1f}ms"


def _migrations(result: Result) -> list[str]:
    if not result.migrations:
        return []

    def figure(value: int | None) -> str:
        return UNKNOWN if value is None else f"{value}ms"

    lines = ["Migrations"]
    for one in result.migrations:
        lines += [
            f"  step {one.step}: {one.guest} from {one.source or UNKNOWN} to "
            f"{one.destination or UNKNOWN}, downtime {figure(one.downtime_ms)}, total "
            f"{figure(one.total_time_ms)}, set-up {figure(one.setup_time_ms)}",
            f"    source       {' '.join(one.source_states) or 'said nothing'}",
            f"    destination  {' '.join(one.destination_states) or 'said nothing'}",
        ]
    return lines


def _software(result: Result) -> list[str]:
    lines = ["Machines"]
    told_once = dict.fromkeys(
        f"  {one.machine}: accelerator {one.accelerator} ({one.evidence})"
        for one in result.machines
    )
    lines += told_once
    for start in result.guest_starts:
        how = guest_start(start.how, start.state, start.made, start.why)
        lines.append(f"  {start.guest} on {start.host}: {how}")
    versions = result.versions
    for one in versions.qemu:
        machine = f", machine type {one.machine}" if one.machine else ""
        image = f" (image {one.image})" if one.image else ""
        lines.append(f"  {one.guest} on {one.host}: QEMU {one.version}{machine}{image}")
    for host, told in versions.host_qemu.items():
        machine = versions.host_machine.get(host, "")
        lines.append(
            f"  {host}: runs on QEMU {told}" + (f", machine type {machine}" if machine else "")
        )
    lines += [f"  {machine}: kernel {told}" for machine, told in versions.kernels.items()]
    lines += [f"  image {image}: {told}" for image, told in versions.images.items()]
    lines.append(f"  harness {versions.harness}")
    return lines
