"""What a job with cases needs of avocado: time to take a lab down.

avocado kills a test one second after it has asked it to end, and a lab needs some seconds to
go down. That is changed only where the user has left avocado's own default
(``runner.task.interval.from_soft_to_hard_termination``). How many tests avocado runs side by
side is its own business: labs wait for each other (``harness.lab.claims``).
"""

from __future__ import annotations

from avocado.core.job import Job
from avocado.core.plugin_interfaces import JobPre

from harness.avocado_plugin.runner import KIND

_PATIENCE = "runner.task.interval.from_soft_to_hard_termination"
_PATIENCE_DEFAULT_S = 1  # avocado/core/__init__.py
_DOWN_S = 60
"""As long as ``harness down`` waits."""


class TimeToGoDown(JobPre):  # type: ignore[misc]  # avocado has no types
    """The entry point ``harness-case`` of ``avocado.plugins.job.prepost``."""

    name = KIND
    description = "Time for labs of the failover harness to go down"

    def pre(self, job: Job) -> None:
        for suite in job.test_suites:
            if not any(test.kind == KIND for test in suite.tests or ()):
                continue
            if suite.config.get(_PATIENCE) == _PATIENCE_DEFAULT_S:
                suite.config[_PATIENCE] = _DOWN_S
