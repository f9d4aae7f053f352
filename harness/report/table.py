"""Plain columns for the text reports.

Neighbours: used by ``text`` and ``by_phase``.
"""

from __future__ import annotations

from collections.abc import Sequence

UNKNOWN = "?"
"""What stands for a figure that the records do not give."""


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest cell; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        (
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
