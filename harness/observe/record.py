"""The append-only record of a run's facts: one JSON object a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from harness.errors import RecordError
from harness.observe.facts import FACT, Fact


def now_ns() -> int:
    """The run's clock: CLOCK_MONOTONIC of the harness, in nanoseconds."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class FactLog:
    """Appends facts to ``path``, each flushed at once; safe to call from several threads.

    Keeps what it wrote in memory too (``facts``), so that a scenario can wait for a fact.
    """

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("a", encoding="utf-8") if path else None
        self._changed = threading.Condition()
        self._facts: list[Fact] = []

    @property
    def facts(self) -> tuple[Fact, ...]:
        """All facts so far, in the order they were recorded (not of their times)."""
        with self._changed:
            return tuple(self._facts)

    def add(self, fact: Fact) -> None:
        with self._changed:
            self._facts.append(fact)
            if self._file and not self._file.closed:
                self._file.write(fact.model_dump_json() + "\n")
                self._file.flush()
            self._changed.notify_all()

    def wait(
        self, wanted: Callable[[Fact], bool], *, timeout: float, since: int = 0
    ) -> Fact | None:
        """The first fact from position ``since`` on that is ``wanted``; None after the timeout."""
        end = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                for fact in self._facts[position:]:
                    if wanted(fact):
                        return fact
                position = len(self._facts)
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)

    def close(self) -> None:
        with self._changed:
            if self._file:
                self._file.close()


def read_facts(path: Path) -> tuple[Fact, ...]:
    """All facts of a run; RecordError names the line that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecordError(f"{path}: the run has no record of facts") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read: {error}") from error
    facts: list[Fact] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            facts.append(FACT.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecordError(
                f"{path}:{number}: not a fact: {place}: {first['msg']}",
                hint="the file was cut off or edited; the run cannot be judged",
            ) from error
    if text and not text.endswith("\n"):
        raise RecordError(f"{path}: the last line was cut off", hint="the run cannot be judged")
    return tuple(facts)
