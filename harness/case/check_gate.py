"""Cross-references of a case's ``gate``: its streams, and what each of them has.

Neighbours: ``check`` calls this; ``gate`` has the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.case.gate import CHARGED, EVERY, OF_TCP, StreamMargins, fits
from harness.case.model import CaseFile
from harness.document import Document, Path, suggestion
from harness.errors import Problem


def check_gate(document: Document, case: CaseFile) -> Iterator[Problem]:
    """What is wrong with the endpoints that a case declares."""
    if case.gate is None:
        return
    for name, margins in case.gate.streams.items():
        base: Path = ("gate", "streams", name)
        if name != EVERY and name not in case.traffic:
            hint = suggestion(name, case.traffic, none="it has none")
            text = f"'{name}' is not a stream of this case's traffic"
            yield document.problem(base, text, hint, key=True)
            continue
        yield from _metrics(document, case, name, margins)
    if case.gate.migration is not None and not any(step.migrate for step in case.steps):
        yield document.problem(
            ("gate", "migration"),
            "no step migrates a guest",
            "add a step `migrate: {guest: ..., to: ...}`",
            key=True,
        )


def _metrics(
    document: Document, case: CaseFile, name: str, margins: StreamMargins
) -> Iterator[Problem]:
    meant = list(case.traffic.values()) if name == EVERY else [case.traffic[name]]
    for metric in StreamMargins.model_fields:
        if getattr(margins, metric) is None or any(fits(metric, one) for one in meant):
            continue
        what = "no stream is one" if name == EVERY else f"{name} is none"
        path: Path = ("gate", "streams", name, metric)
        if metric in OF_TCP:
            text, hint = f"'{metric}' is told of TCP, and {what}", ""
        elif metric in CHARGED and any(one.protocol == "icmp-echo" for one in meant):
            text = f"'{metric}' of an ICMP echo is not charged to the network"
            hint = "kernels limit the rate of their replies: declare it of a UDP stream"
        else:
            text, hint = f"'{metric}' is told of numbered packets, and {what}", ""
        yield document.problem(path, text, hint, key=True)
