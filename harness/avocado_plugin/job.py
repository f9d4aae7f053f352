"""What a job with cases needs of avocado: one lab at a time, and time to take it down.

avocado runs as many tests side by side as there are processors, and kills a test one second
after it has asked it to end. Labs side by side starve each other, and then nothing can be
told of their streams; a lab needs some seconds to go down. Both are changed only where the
user has left avocado's own defaults (``--max-parallel-tasks``,
``runner.task.interval.from_soft_to_hard_termination``).
"""

from __future__ import annotations

import multiprocessing

from avocado.core.job import Job
from avocado.core.plugin_interfaces import JobPre

from harness.avocado_plugin.runner import KIND

_PARALLEL = "run.max_parallel_tasks"
_PATIENCE = "runner.task.interval.from_soft_to_hard_termination"
_PATIENCE_DEFAULT_S = 1  # avocado/core/__init__.py
_DOWN_S = 60
"""As long as ``harness down`` waits."""


class OneLabAtATime(JobPre):  # type: ignore[misc]  # avocado has no types
    """The entry point ``harness-case`` of ``avocado.plugins.job.prepost``."""

    name = KIND
    description = "One lab of the failover harness at a time, and time to take it down"

    def pre(self, job: Job) -> None:
        for suite in job.test_suites:
            if not any(test.kind == KIND for test in suite.tests or ()):
                continue
            if suite.config.get(_PARALLEL) == multiprocessing.cpu_count():
                suite.config[_PARALLEL] = 1
            if suite.config.get(_PATIENCE) == _PATIENCE_DEFAULT_S:
                suite.config[_PATIENCE] = _DOWN_S
