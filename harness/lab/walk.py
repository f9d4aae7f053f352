"""Walks steps in the order of their needs, side by side where they do not depend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event

from harness.errors import HarnessError, LabError
from harness.plan.model import Step


def walk(
    steps: Sequence[Step],
    do: Callable[[Step], None],
    *,
    cancel: Event,
    abandon: Callable[[], None] = lambda: None,
    parallel: int = 16,
) -> None:
    """Runs ``do`` for every step once its needs are done.

    After the first failure, or once ``cancel`` is set, no further step starts; the running
    ones are awaited (each has its own deadline), then the first error is raised, with the
    others named in its evidence. On Ctrl-C ``abandon`` is called, which has to make the
    running steps end, before they are awaited.
    """
    pending = {step.id: step for step in steps}
    unknown = {need for step in steps for need in step.needs} - pending.keys()
    if unknown:
        raise LabError(f"steps that nothing provides: {', '.join(sorted(unknown))}")
    done: set[str] = set()
    errors: list[tuple[str, BaseException]] = []
    running: dict[Future[None], str] = {}
    with ThreadPoolExecutor(max_workers=parallel, thread_name_prefix="step") as pool:
        try:
            while (pending and not errors and not cancel.is_set()) or running:
                if not errors and not cancel.is_set():
                    ready = [s for s in pending.values() if all(n in done for n in s.needs)]
                    for step in ready:
                        running[pool.submit(do, pending.pop(step.id))] = step.id
                    if pending and not running:
                        raise LabError(f"steps that wait for each other: {', '.join(pending)}")
                # A short time-out, so that `cancel` is seen while long steps run.
                finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    error = future.exception()
                    if error is None:
                        done.add(name)
                    else:
                        errors.append((name, error))
        except KeyboardInterrupt:
            abandon()
            raise
    if errors:
        name, first = errors[0]
        others = [f"also failed: {n}: {str(e).splitlines()[0]}" for n, e in errors[1:]]
        if isinstance(first, HarnessError):
            first.evidence = (*first.evidence, *others)
            raise first
        raise LabError(f"{name}: {first!r}", evidence=others) from first
