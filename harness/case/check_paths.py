"""The paths that a case expects, against its topology: whether a stream can have one.

Neighbours: ``check`` calls this; ``pairs`` knows which pair a stream goes through.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.case.model import CaseFile
from harness.case.pairs import pair_of, primary_kind
from harness.document import Document, Path
from harness.errors import Problem
from harness.topology.model import Topology

_HINT = "a path is told of numbered packets to or from the address of a failover pair"


def check_paths(
    document: Document, case: CaseFile, topology: Topology, name: str, every: str
) -> Iterator[Problem]:
    """A stream of which a path is expected goes through a pair; of ``every`` stream, one does."""
    pairs = {stream: pair_of(terms, topology) for stream, terms in case.traffic.items()}
    for key, bounds in case.expect.streams.items():
        wanted = list(bounds.path_bounds())
        if not wanted or (key != every and key not in pairs):
            continue  # a stream that is not there is said elsewhere
        asked = pairs if key == every else {key: pairs[key]}
        if not any(case.traffic[stream].tcp is None for stream in asked):
            continue  # TCP has no numbered packets; that is said elsewhere, too
        base: Path = ("expect", "streams", key, "path")
        through = {pair for pair in asked.values() if pair}
        if not through:
            what = "no stream goes" if key == every else f"'{key}' does not go"
            yield document.problem(
                base, f"{what} through a failover pair of {name}", _HINT, key=True
            )
        for bound in wanted:
            for guest, standby in sorted(through):
                if bound.taken.path == "primary" and (
                    primary_kind(topology, guest, standby) == "none"
                ):
                    yield document.problem(
                        ("expect", "streams", key, *bound.path),
                        f"standby '{standby}' of guest '{guest}' has no primary in {name}",
                    )
