"""The one way YAML files come in: plain data, and the place of everything in it.

``read`` turns a file into a ``Document``; ``validate`` turns a document into a pydantic
model or raises ``ProblemsError`` with all problems, each at its line and column;
``survey`` does the same but hands back what could be salvaged, for rooms that check
cross-references too.

It knows nothing of topologies, cases or recipes. Neighbours: used by every room that reads
YAML; imports ``errors`` only.
"""

from harness.document.compose import MAX_NODES, Mark, Path, Place, dotted
from harness.document.nearest import nearest, one_of, suggestion
from harness.document.read import MAX_BYTES, Document, parse, read
from harness.document.validate import Damage, Survey, survey, validate

__all__ = [
    "MAX_BYTES",
    "MAX_NODES",
    "Damage",
    "Document",
    "Mark",
    "Path",
    "Place",
    "Survey",
    "dotted",
    "nearest",
    "one_of",
    "parse",
    "read",
    "suggestion",
    "survey",
    "validate",
]
