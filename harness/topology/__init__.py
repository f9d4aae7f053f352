"""YAML in; a frozen topology out, or *all* problems, each with its place and a hint.

``load(path)`` is the way in. ``model`` says what a file may hold, ``check`` what must agree
within it, ``like`` how one part takes over another, ``schema`` the same for editors;
``choices`` what the command line puts in the place of what a file says.

Pure but for reading the file: no processes, no network. Neighbours: ``harness.document``
reads and words, ``harness.plan`` turns a topology into a plan.
"""

from harness.topology.check import check
from harness.topology.choices import Choices, choose, parse_choices
from harness.topology.load import load
from harness.topology.model import Topology
from harness.topology.schema import json_schema

__all__ = [
    "Choices",
    "Topology",
    "check",
    "choose",
    "json_schema",
    "load",
    "parse_choices",
]
