"""Building labs and taking them away: the only room that makes things."""

from harness.lab.guest import Instance, LabGuest
from harness.lab.host import LabHost
from harness.lab.images import LabImages
from harness.lab.lab import Lab, LabState
from harness.lab.progress import Progress, process_began

__all__ = [
    "Instance",
    "Lab",
    "LabGuest",
    "LabHost",
    "LabImages",
    "LabState",
    "Progress",
    "process_began",
]
