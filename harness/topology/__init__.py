"""YAML in; a frozen topology out, or *all* problems, each with its place and a hint.

``load(path)`` is the way in. ``model`` says what a file may hold, ``check`` what must agree
within it, ``like`` how one part takes over another, ``schema`` the same for editors.

Pure but for reading the file: no processes, no network. Neighbours: ``harness.document``
reads and words, ``harness.plan`` turns a topology into a plan.
"""

from harness.topology.check import check
from harness.topology.load import load
from harness.topology.model import Topology
from harness.topology.schema import json_schema

__all__ = ["Topology", "check", "json_schema", "load"]
