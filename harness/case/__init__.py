"""The case language: a claim, the traffic, the steps, and what has to hold.

``load_case`` reads a file, ``bind`` puts it on a topology, ``check_case`` says everything
that is wrong with a case and its topologies at once.

What it is not: nothing here acts or judges. Neighbours: imports ``document`` and
``topology``; ``scenario`` carries cases out, ``verdict`` judges their runs.
"""

from harness.case.conditions import Condition, State
from harness.case.events import EventName
from harness.case.expect import Expect, PathBound, StreamBound, StreamBounds, TcpBound
from harness.case.gate import Endpoint, Gate, declared_endpoints
from harness.case.load import BoundCase, Case, bind, case_schema, check_case, load_case
from harness.case.migrating import FdbDel, Kill, Migrate, Qmp, QmpCommand, Steer, VfMac
from harness.case.model import Flow, Scalar, Stream, TcpFlow
from harness.case.netdevs import ABSENT, PairShape
from harness.case.parameters import parse_settings
from harness.case.phases import GLOSSARY, PHASES, PhaseName
from harness.case.sniff import looks_like_case
from harness.case.step import VERBS, Action, Placed, Repeat, Step
from harness.case.steps import Exec, Pause, Wait
from harness.case.steps_devices import Plug, SetHostLink, SetLink, SetTap, TakeAway, Unplug
from harness.case.steps_guests import Cont, Reboot, Reset, Start, Stop
from harness.case.values import Bound, TimeBound

__all__ = [
    "ABSENT",
    "GLOSSARY",
    "PHASES",
    "VERBS",
    "Action",
    "Bound",
    "BoundCase",
    "Case",
    "Condition",
    "Cont",
    "Endpoint",
    "EventName",
    "Exec",
    "Expect",
    "FdbDel",
    "Flow",
    "Gate",
    "Kill",
    "Migrate",
    "PairShape",
    "PathBound",
    "Pause",
    "PhaseName",
    "Placed",
    "Plug",
    "Qmp",
    "QmpCommand",
    "Reboot",
    "Repeat",
    "Reset",
    "Scalar",
    "SetHostLink",
    "SetLink",
    "SetTap",
    "Start",
    "State",
    "Steer",
    "Step",
    "Stop",
    "Stream",
    "StreamBound",
    "StreamBounds",
    "TakeAway",
    "TcpBound",
    "TcpFlow",
    "TimeBound",
    "Unplug",
    "VfMac",
    "Wait",
    "bind",
    "case_schema",
    "check_case",
    "declared_endpoints",
    "load_case",
    "looks_like_case",
    "parse_settings",
]
