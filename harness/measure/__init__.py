"""Metrics of one numbered stream, from what was sent and what arrived. Pure functions.

Every figure has the definition of an RFC, named where it is computed, and can be worked
out by hand from the two records. Nothing here reads a file, knows a phase or judges.

Neighbours: ``harness.traffic.records`` reads the records, ``harness.verdict`` judges the
metrics; imports ``errors``, ``observe`` and numpy.
"""

from harness.measure.bounds import Delays, Gaps, TimeRange, delays, gaps
from harness.measure.clocks import GuestClockMap
from harness.measure.copies import Duplication, duplication
from harness.measure.delay import DelayVariation, delay_variation, one_way_delays
from harness.measure.interruption import Interruption, interruption
from harness.measure.loss import Loss, LossPeriod, loss
from harness.measure.order import Reordering, reordering
from harness.measure.parts import Border, Counts, PartCounts, Parted, Tally, split
from harness.measure.sender import SenderQuality, sender_quality
from harness.measure.summary import StreamMetrics, measure_stream
from harness.measure.trace import Matched, Trace, match

__all__ = [
    "Border",
    "Counts",
    "DelayVariation",
    "Delays",
    "Duplication",
    "Gaps",
    "GuestClockMap",
    "Interruption",
    "Loss",
    "LossPeriod",
    "Matched",
    "PartCounts",
    "Parted",
    "Reordering",
    "SenderQuality",
    "StreamMetrics",
    "Tally",
    "TimeRange",
    "Trace",
    "delay_variation",
    "delays",
    "duplication",
    "gaps",
    "interruption",
    "loss",
    "match",
    "measure_stream",
    "one_way_delays",
    "reordering",
    "sender_quality",
    "split",
]
