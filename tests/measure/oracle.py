"""The metrics once more, slowly and straight from the text of the RFCs.

Plain lists and loops over loops; shares no code and no idea with ``harness.measure``.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Oracle:
    """``sends`` and ``arrivals`` are lists of (seq, t_ns) in the order recorded."""

    sends: list[tuple[int, int]]
    arrivals: list[tuple[int, int]]
    tmax_ns: int
    timely: list[tuple[int, int]] = field(default_factory=list)
    strangers: int = 0
    late: int = 0

    def __post_init__(self) -> None:
        sent = dict(self.sends)
        for seq, t_ns in self.arrivals:
            if seq not in sent:
                self.strangers += 1
            elif t_ns - sent[seq] > self.tmax_ns:
                self.late += 1
            else:
                self.timely.append((seq, t_ns))

    @property
    def order(self) -> list[int]:
        """Places in the sends of first copies, in the order of arrival (RFC 4737: the
        singletons are of packets received, duplicates set aside)."""
        places = {seq: place for place, (seq, _) in enumerate(self.sends)}
        found: list[int] = []
        for seq, _ in self.timely:
            if places[seq] not in found:
                found.append(places[seq])
        return found

    @property
    def lost(self) -> list[int]:
        """Places without a copy within Tmax (RFC 7680: the delay is undefined or above it)."""
        got = self.order
        return [place for place in range(len(self.sends)) if place not in got]

    @property
    def loss_periods(self) -> list[tuple[int, int]]:
        """(first place, length): a loss period begins when the one before was not lost
        (RFC 3357)."""
        lost = self.lost
        periods: list[tuple[int, int]] = []
        for place in lost:
            if place - 1 in lost:
                first, length = periods.pop()
                periods.append((first, length + 1))
            else:
                periods.append((place, 1))
        return periods

    @property
    def loss_distances(self) -> list[int]:
        """Difference of the numbers of a lost packet and the previously lost one (RFC 3357)."""
        lost = self.lost
        return [lost[i] - lost[i - 1] for i in range(1, len(lost))]

    @property
    def between_periods(self) -> list[int]:
        """First of a loss period minus last of the one before (RFC 3357)."""
        periods = self.loss_periods
        return [
            periods[i][0] - (periods[i - 1][0] + periods[i - 1][1] - 1)
            for i in range(1, len(periods))
        ]

    @property
    def reordered(self) -> list[int]:
        """Places in the arrivals of reordered packets: s < NextExp, else NextExp = s + 1
        (RFC 4737)."""
        next_expected, found = 0, []
        for i, s in enumerate(self.order):
            if s >= next_expected:
                next_expected = s + 1
            else:
                found.append(i)
        return found

    @property
    def extents(self) -> list[int]:
        """i - j, j the earliest arrival with s[j] > s[i] (RFC 4737)."""
        s = self.order
        return [i - min(j for j in range(i) if s[j] > s[i]) for i in self.reordered]

    @property
    def degrees(self) -> list[int]:
        """The largest n such that for all j with i - n <= j < i: s[j] > s[i] (RFC 4737)."""
        s = self.order
        return [
            max(n for n in range(i + 1) if all(s[j] > s[i] for j in range(i - n, i)))
            for i in self.reordered
        ]

    @property
    def free_runs(self) -> list[int]:
        """Lengths of the runs of in-order packets between reordered ones."""
        runs, run = [], 0
        for i in range(len(self.order)):
            if i in self.reordered:
                runs.append(run)
                run = 0
            else:
                run += 1
        return [run for run in [*runs, run] if run]

    @property
    def copies(self) -> list[int]:
        """Copies within Tmax of each packet sent (RFC 5560)."""
        return [sum(1 for seq, _ in self.timely if seq == sent) for sent, _ in self.sends]

    @property
    def delays(self) -> dict[int, int]:
        """Delay of each packet's first copy, by place."""
        found: dict[int, int] = {}
        places = {seq: place for place, (seq, _) in enumerate(self.sends)}
        for seq, t_ns in self.timely:
            place = places[seq]
            if place not in found:
                found[place] = t_ns - self.sends[place][1]
        return found

    @property
    def pdv(self) -> list[int]:
        """D(i) - Dmin, sorted (RFC 5481)."""
        values = sorted(self.delays.values())
        return [value - values[0] for value in values]

    @property
    def ipdv(self) -> list[int]:
        """D(i) - D(i-1) where both packets came (RFC 3393)."""
        delays = self.delays
        return [delays[i] - delays[i - 1] for i in sorted(delays) if i - 1 in delays]

    def impaired(self, pdv_bound_ns: int | None) -> list[int]:
        """Places of packets lost, reordered, duplicated or above the PDV bound."""
        order, copies, delays = self.order, self.copies, self.delays
        late = {order[i] for i in self.reordered}
        least = min(delays.values(), default=0)
        return [
            place
            for place in range(len(self.sends))
            if place in self.lost
            or place in late
            or copies[place] > 1
            or (pdv_bound_ns is not None and delays[place] - least > pdv_bound_ns)
        ]
