"""The run states of a VM, and the guard that an operation puts on them.

Derived from QEMU's RunState (qapi/run-state.json), which has more of them than a test
needs to tell apart, and from the process.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from harness.errors import WrongState


class RunState(StrEnum):
    """What a VM is doing."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    INCOMING = "incoming"
    POSTMIGRATE = "postmigrate"
    FAILED = "failed"
    EXITED = "exited"


ALIVE = (RunState.RUNNING, RunState.PAUSED, RunState.INCOMING, RunState.POSTMIGRATE)
"""States in which QMP answers and nothing is wrong."""

_FROM_QEMU = {
    "running": RunState.RUNNING,
    "inmigrate": RunState.INCOMING,
    "postmigrate": RunState.POSTMIGRATE,
    "internal-error": RunState.FAILED,
    "io-error": RunState.FAILED,
    "guest-panicked": RunState.FAILED,
}

_AFTER_EVENT = {
    "STOP": RunState.PAUSED,
    "RESUME": RunState.RUNNING,
    "GUEST_PANICKED": RunState.FAILED,
}


def from_qemu(status: str) -> RunState:
    """The state for a ``query-status``; all the ways of not running are PAUSED."""
    return _FROM_QEMU.get(status, RunState.PAUSED)


def after_event(state: RunState, name: str, migration_status: str = "") -> RunState:
    """The state after a QMP event. A source that completed a migration was stopped before;
    a destination that completed one goes on by RESUME."""
    if name == "MIGRATION":
        done = migration_status == "completed" and state is RunState.PAUSED
        return RunState.POSTMIGRATE if done else state
    return _AFTER_EVENT.get(name, state)


class HasState(Protocol):
    @property
    def title(self) -> str: ...
    @property
    def state(self) -> RunState: ...


P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=HasState)


def requires(
    *states: RunState,
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
    """Refuse the operation with WrongState in any other state."""

    def guard(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
        @wraps(method)
        def guarded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
            if self.state not in states:
                wanted = " or ".join(states)
                raise WrongState(
                    f"{self.title}: {method.__name__.replace('_', ' ')} needs it {wanted}; "
                    f"it is {self.state}"
                )
            return method(self, *args, **kwargs)

        return guarded

    return guard
