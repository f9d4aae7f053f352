"""What was sent and what arrived, brought together: the input of every metric.

Sequence numbers are 32 bits wide and may wrap. A stream is shorter than 2**32 packets, so
the distance from the first number sent, modulo 2**32, says which packet is meant. Packets
are then named by their place among those sent (``index``): numbers that were never sent,
because the sender's kernel refused them, leave no hole.

The order of arrivals is the order in which they were recorded, not that of their stamps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.errors import RecordError

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_WRAP = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Packets in the order recorded: ``seq`` (modulo 2**32) and ``t_ns``, of equal length.

    ``err_ns``: half-widths of the intervals that the true times lie in; None: exact.
    """

    seq: Ints
    t_ns: Ints
    err_ns: Ints | None = None

    def __post_init__(self) -> None:
        if self.err_ns is not None and self.err_ns.shape != self.t_ns.shape:
            raise RecordError(f"a trace has {self.t_ns.size} times and {self.err_ns.size} errors")
        if self.seq.shape != self.t_ns.shape or self.seq.ndim != 1:
            raise RecordError(
                f"a trace has {self.seq.size} sequence numbers and {self.t_ns.size} times"
            )

    @classmethod
    def of(cls, seq: npt.ArrayLike, t_ns: npt.ArrayLike) -> Trace:
        """From anything that numpy makes an array of."""
        return cls(np.asarray(seq).astype(np.int64), np.asarray(t_ns).astype(np.int64))

    @property
    def errors(self) -> Ints:
        """``err_ns``, or as many zeros (which take no memory)."""
        if self.err_ns is not None:
            return self.err_ns
        return np.broadcast_to(np.int64(0), self.t_ns.shape)

    def __len__(self) -> int:
        return int(self.seq.size)


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """The sends of a stream and its arrivals, each with the index of the packet it is a copy of.

    ``seq`` and ``sent_ns`` have one entry a packet sent. ``index`` and ``arrived_ns`` have
    one entry for each arrival within the waiting time, in the order of arrival. ``first``
    marks the first copy of each packet there. ``late`` counts arrivals after the waiting
    time, ``strangers`` those of numbers that were not sent. ``sent_err_ns`` and
    ``arrived_err_ns`` are the half-widths of the times' errors.
    """

    seq: Ints
    sent_ns: Ints
    sent_err_ns: Ints
    index: Ints
    arrived_ns: Ints
    arrived_err_ns: Ints
    first: Bools
    late: int
    late_packets: int
    strangers: int
    tmax_ns: int

    @property
    def sent(self) -> int:
        return int(self.seq.size)

    @property
    def arrivals(self) -> int:
        return int(self.index.size)

    @property
    def received(self) -> Bools:
        """For each packet sent, whether an intact copy came within the waiting time."""
        got = np.zeros(self.sent, dtype=np.bool_)
        got[self.index] = True
        return got


def match(sends: Trace, arrivals: Trace, *, tmax_ns: int, clock_err_ns: int = 0) -> Matched:
    """Find the packet of each arrival. Takes n log n steps at worst.

    Both traces are on one clock, up to ``clock_err_ns``: an arrival is late when it certainly
    came more than ``tmax_ns`` after its send. Raises RecordError when the sends are not
    numbered upwards (modulo 2**32), or an arrival certainly precedes its send: then the
    records belong to different streams, or their clocks were not brought together.
    """
    if len(sends) == 0:
        return _nothing_sent(len(arrivals), tmax_ns)
    base = int(sends.seq[0])
    steps = np.diff(sends.seq) % _WRAP
    backwards = (steps == 0) | (steps >= _WRAP // 2)
    if np.any(backwards):
        at = int(np.argmax(backwards))
        raise RecordError(
            f"the sends are not numbered upwards: {int(sends.seq[at])} is followed by "
            f"{int(sends.seq[at + 1])}",
            hint="the record of the sender is damaged; the stream cannot be judged",
        )
    number = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(steps)))
    wanted = (arrivals.seq - base) % _WRAP
    place = np.searchsorted(number, wanted)
    place = np.minimum(place, number.size - 1)
    known = number[place] == wanted
    index, arrived, arrived_err = place[known], arrivals.t_ns[known], arrivals.errors[known]
    delay = arrived - sends.t_ns[index]
    if np.any(delay < -clock_err_ns):
        worst = int(np.argmin(delay))
        raise RecordError(
            f"packet {int(sends.seq[index[worst]])} arrived {-int(delay[worst])} ns before it "
            f"was sent, more than the clocks' error of {clock_err_ns} ns",
            hint="the two records are not on one clock, or of different streams",
        )
    timely = delay <= tmax_ns + clock_err_ns
    overdue = np.zeros(len(sends), dtype=np.bool_)
    overdue[index[~timely]] = True
    overdue[index[timely]] = False
    index, arrived, arrived_err = index[timely], arrived[timely], arrived_err[timely]
    first = np.zeros(index.size, dtype=np.bool_)
    # Of several values for one place the last is kept: backwards, that of the first copy.
    earliest = np.full(len(sends), -1, dtype=np.int64)
    earliest[index[::-1]] = np.arange(index.size - 1, -1, -1)
    first[earliest[earliest >= 0]] = True
    return Matched(
        seq=sends.seq, sent_ns=sends.t_ns, sent_err_ns=sends.errors,
        index=index.astype(np.int64), arrived_ns=arrived, arrived_err_ns=arrived_err, first=first,
        late=int(np.count_nonzero(~timely)), late_packets=int(np.count_nonzero(overdue)),
        strangers=int(np.count_nonzero(~known)), tmax_ns=tmax_ns,
    )  # fmt: skip


def _nothing_sent(arrivals: int, tmax_ns: int) -> Matched:
    empty = np.empty(0, dtype=np.int64)
    return Matched(
        seq=empty, sent_ns=empty, sent_err_ns=empty, index=empty, arrived_ns=empty,
        arrived_err_ns=empty,
        first=np.empty(0, dtype=np.bool_), late=0, late_packets=0, strangers=arrivals,
        tmax_ns=tmax_ns,
    )  # fmt: skip
