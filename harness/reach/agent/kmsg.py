"""Follow the kernel's log of the machine (/dev/kmsg), from now on.

A record's own stamp is printk's clock, which is not CLOCK_MONOTONIC. What is certain: it was
logged after this thread last saw nothing unread (``empty_ns``) and before it read the record
(``read_ns``). To do better a mark follows what was read, at most one a second: a record written
between two readings of CLOCK_MONOTONIC, whose stamp, when it comes back, tells how far the
clocks are apart. Marks are of level 7, which consoles do not show.

A flood must not cost the machine its work: of each second's records the first hundred are
read, the rest is jumped over and counted.

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
Source: Documentation/ABI/testing/dev-kmsg.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from typing import Any

from harness.reach.agent.core import Agent, Args, Failure

_RECORDS = 100
_RECORD = 1 << 13
_TEXT = 1000
_SECOND = 1_000_000_000
_MONOTONIC_COARSE = 6  # linux/time.h; Python has no name for it
_MARK = "harness agent: clock "


class _Log:
    """One watch: its files, its mark, and what it has read of this second."""

    def __init__(self, agent: Agent, handle: int, path: str) -> None:
        self._agent, self._handle, self._path = agent, handle, path
        self._ended, self._end = os.pipe()
        self._empty = _now()
        self._in = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._to_the_end()
        self._out = -1
        with contextlib.suppress(OSError):  # without marks times are less certain, no more
            self._out = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._next = 0
        self._skipped = False
        self._second, self._count = self._empty, 0
        self._mark, self._marks, self._between = "", 0, (0, 0)
        self._mark_wanted, self._mark_due = True, self._empty
        self._thread = threading.Thread(target=self._follow, daemon=True, name="kmsg")
        self._thread.start()

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._in, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        try:
            while True:
                wait_ms = None
                if self._mark_wanted and self._out >= 0:
                    wait_ms = max(0, (self._mark_due - _now() + 999_999) // 1_000_000)
                poll.poll(wait_ms)
                if self._ends_within(0) or self._agent.closing:
                    return
                if self._read() and self._ends_within(self._second + _SECOND - _now()):
                    return
                if self._mark_wanted and self._out >= 0 and _now() >= self._mark_due:
                    self._write_mark()
        except OSError as error:
            self._tell("kmsg-lost", problem=error.strerror or str(error))
        finally:
            for handle in (self._in, self._out):
                if handle >= 0:
                    os.close(handle)

    def _ends_within(self, wait_ns: int) -> bool:
        return bool(select.select([self._ended], [], [], max(0, wait_ns) / _SECOND)[0])

    def _read(self) -> bool:
        """Tell what is unread; True when it is too much for this second."""
        if _now() - self._second >= _SECOND:
            if self._count >= _RECORDS:
                self._skipped = self._to_the_end()
                self._mark_wanted = True  # the last one may have been jumped over
            self._second, self._count = _now(), 0
        while self._count < _RECORDS:
            before = _now()
            try:
                record = os.read(self._in, _RECORD)
            except BlockingIOError:
                self._empty = before
                return False
            except OSError as error:
                if error.errno != errno.EPIPE:  # overwritten; the numbers tell how many were
                    raise
                continue
            read = _now()
            for line in record.decode("ascii", "replace").splitlines():
                self._take(line, read)
        return True

    def _to_the_end(self) -> bool:
        self._empty = _now()
        with contextlib.suppress(OSError):
            os.lseek(self._in, 0, os.SEEK_END)
            return True
        return False

    def _take(self, line: str, read_ns: int) -> None:
        """``PRIORITY,NUMBER,STAMP,FLAGS...;TEXT``; lines of details begin with a space."""
        head, found, text = line.partition(";")
        fields = head.split(",")
        if not found or len(fields) < 3 or not all(one.isdecimal() for one in fields[:3]):
            return
        priority, number, stamp = (int(one) for one in fields[:3])
        if self._next and number > self._next:
            why = "flood" if self._skipped else "overwritten"
            self._tell("kmsg-gap", messages=number - self._next, why=why, at_ns=read_ns)
        self._next, self._skipped = number + 1, False
        if text.startswith(_MARK):
            if text == self._mark:
                # The resolution of the coarse clocks is the length of a tick.
                tick = round(time.clock_getres(_MONOTONIC_COARSE) * _SECOND)
                self._tell(
                    "kmsg-clock", stamp_us=stamp, from_ns=self._between[0],
                    to_ns=self._between[1], tick_ns=tick, seq=number,
                )  # fmt: skip
            return
        self._count += 1
        self._mark_wanted = True
        shown = text if len(text) <= _TEXT else text[:_TEXT] + "..."
        self._tell(
            "kmsg", level=priority & 7, seq=number, stamp_us=stamp, empty_ns=self._empty,
            read_ns=read_ns, text=shown,
        )  # fmt: skip

    def _write_mark(self) -> None:
        self._marks += 1
        self._mark = f"{_MARK}{os.getpid()} {self._marks}"
        before = _now()
        try:
            os.write(self._out, f"<7>{self._mark}\n".encode())
        except OSError:  # printk.devkmsg=off
            os.close(self._out)
            self._out = -1
        self._between = (before, _now())
        self._mark_due, self._mark_wanted = self._between[1] + _SECOND, False

    def _tell(self, event: str, **data: Any) -> None:
        self._agent.event(event, handle=self._handle, **data)

    def stop(self) -> None:
        """No event comes after this returned."""
        os.write(self._end, b"x")
        self._thread.join(5)
        for handle in (self._end, self._ended):
            os.close(handle)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def kmsg_watch(agent: Agent, handle: int, path: str = "/dev/kmsg") -> Args:
    """Report each record from now on as a ``kmsg`` event, each mark that came back as
    ``kmsg-clock``, records left out as ``kmsg-gap``; times are CLOCK_MONOTONIC of this machine.
    ``kmsg-lost`` is the last event of a watch that can no longer tell."""
    try:
        watch = _Log(agent, handle, path)
    except OSError as error:
        problem = error.strerror or str(error)
        raise Failure(f"follow {path}: {problem}", "os", error.errno or 0) from error
    agent.on_undo(f"watch {handle} of the kernel's log", watch.stop)
    return {}


def kmsg_unwatch(agent: Agent, handle: int) -> None:
    """End a watch; one that was ended before is no error."""
    agent.undo(f"watch {handle} of the kernel's log")


OPS: dict[str, Any] = {action.__name__: action for action in (kmsg_watch, kmsg_unwatch)}
