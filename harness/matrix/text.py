"""The table of a matrix: for a terminal, and as Markdown for a page.

Neighbours: renders a ``MatrixResult``; decides nothing.
"""

from __future__ import annotations

from harness.matrix.result import CellOutcome, CellResult, MatrixResult
from harness.report import Result
from harness.report.table import UNKNOWN, table

_HEAD = ("cell", "ran", "outcome", "lost", "interruption", "duration", "first failed expectation")


def render(result: MatrixResult) -> str:
    """The table for a terminal, ending in a newline."""
    lines = [f"{result.claim}: {_count(result)}", f"  {result.case_file} over {result.matrix_file}"]
    lines += ["", *table([_HEAD, *_rows(result)])]
    notes = [
        line
        for cell in result.cells
        if cell.outcome is not CellOutcome.PASSED
        for line in _note(cell)
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def markdown(result: MatrixResult) -> str:
    """The table as Markdown."""
    rows = [_HEAD, ("---",) * len(_HEAD), *_rows(result)]
    body = ["| " + " | ".join(_escape(text) for text in row) + " |" for row in rows]
    head = f"**{_escape(result.claim)}**: {_count(result)} (`{result.case_file}` over "
    return "\n".join([f"{head}`{result.matrix_file}`)", "", *body]) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _count(result: MatrixResult) -> str:
    counts = {
        outcome.value: sum(cell.outcome is outcome for cell in result.cells)
        for outcome in CellOutcome
    }
    counts["excluded"] = len(result.excluded)
    counts["not run"] = len(result.not_run)
    total = len(result.cells) + len(result.not_run)
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"{total} cell{'s' if total != 1 else ''}: {told}"


def _rows(result: MatrixResult) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (
            cell.id,
            _ran(cell.result),
            cell.outcome.value,
            _lost(cell.result),
            _interruption(cell.result),
            f"{cell.duration_s:.1f} s",
            cell.first or (f"known: {cell.known}" if cell.known else ""),
        )
        for cell in result.cells
    ]
    rows += [(name, "", "not run", "", "", "", "interrupted") for name in result.not_run]
    rows += [
        (
            f"{one.variant or '*'}[{one.cell}]",
            "",
            "excluded",
            "",
            "",
            "",
            f"not run: {one.reason}",
        )
        for one in result.excluded
    ]
    return rows


def _note(cell: CellResult) -> list[str]:
    lines = [f"{cell.id}: {cell.outcome.value}"]
    if cell.outcome is CellOutcome.FAILED_AS_KNOWN:
        lines[0] += f": {cell.known}"
    lines += [f"  {line}" for line in cell.reason.splitlines()]
    lines.append(f"  run directory: {cell.run_directory}")
    return lines


def _ran(result: Result | None) -> str:
    """The software that the guests ran with, as it said of itself."""
    if result is None:
        return UNKNOWN
    guests = {one.guest for one in result.versions.qemu}
    words = [f"QEMU {one.version}" for one in result.versions.qemu]
    words += [f"Linux {told}" for name, told in result.versions.kernels.items() if name in guests]
    words += [one.machine for one in result.versions.qemu if one.machine]
    words += [one.accelerator for one in result.machines if one.machine.partition("@")[0] in guests]
    return ", ".join(dict.fromkeys(words))


def _lost(result: Result | None) -> str:
    """The largest loss of a stream, and of which."""
    if result is None or not result.streams:
        return UNKNOWN if result is None else ""
    counted = [(one.lost, one.stream) for one in result.streams if one.lost is not None]
    return "{} ({})".format(*max(counted)) if counted else UNKNOWN


def _interruption(result: Result | None) -> str:
    """The longest interruption of a stream (RFC 6413), and of which."""
    if result is None or not result.streams:
        return UNKNOWN if result is None else ""
    timed = [
        (one.interruption_by_time_s, one.stream)
        for one in result.streams
        if one.interruption_by_time_s is not None
    ]
    if not timed:
        return UNKNOWN
    longest, stream = max(timed)
    return f"{longest * 1e3:.0f} ms ({stream})"
