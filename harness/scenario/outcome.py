"""What a step says that was carried out and did not come to its wanted end."""

from __future__ import annotations

from harness.errors import HarnessError


class StepFailed(HarnessError):
    """A step was carried out and did not come to its wanted end; judged, not an error."""

    exit_code = 1
