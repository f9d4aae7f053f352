"""One QEMU process and its QMP session, with an explicit run state.

asyncio stays in here (qemu.qmp), on one owned loop thread. The command line comes from the
plan; this room invents no arguments. Neighbours: ``reach`` gives the machine, the process
and the socket; ``lab`` and ``scenario`` use ``Vm``; events go to a sink as facts.
"""

from harness.vm.migration import Capability, MigrationInfo, ParameterValue
from harness.vm.state import RunState
from harness.vm.vm import EventSink, Vm

__all__ = ["Capability", "EventSink", "MigrationInfo", "ParameterValue", "RunState", "Vm"]
