"""A program that sends one stream from inside a namespace: ``python -m harness.traffic.sender``.

The order comes on stdin (``programs.SendOrder``); a line there, or its end, stops it. Packet
k is due at start + k / rate. A late sender sends at most BURST packets at once; if it is
behind even then, the schedule moves by what is missing, so that a stall makes no burst.
Numbers have no gaps in the schedule: one that the kernel refused was not sent, is in no
record, and is counted by its errno.

Neighbours: ``client`` starts it; it knows nothing of scapy and numpy, and starts quickly.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from harness.traffic.layout import MASK, Patcher, Template
from harness.traffic.programs import (
    EVENT_FLOWING,
    EVENT_PROBLEM,
    EVENT_READY,
    EVENT_SUMMARY,
    SendOrder,
    SendSummary,
    StopSignal,
    read_order,
    run_ahead,
    tell,
)
from harness.traffic.recordfile import RecordWriter

BURST = 4
FLOWING_AFTER = 4
_SEND_BUFFER = 4 << 20
_SECOND = 1_000_000_000


def main() -> int:
    order = read_order(SendOrder)
    try:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: it receives nothing
        link.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        link.bind((order.interface, 0))
        writer = RecordWriter(Path(order.sends), stream_id=order.stream_id)
    except OSError as error:
        tell(EVENT_PROBLEM, text=f"{order.interface}: {error}")
        return 1
    stop = StopSignal()
    run_ahead()
    tell(EVENT_READY)
    summary = send_stream(order, link, writer, stop)
    writer.close()
    tell(EVENT_SUMMARY, **asdict(summary))
    return 0


def send_stream(
    order: SendOrder, link: socket.socket, writer: RecordWriter, stop: StopSignal
) -> SendSummary:
    """Send until the count is reached or ``stop`` is set."""
    patcher = Patcher(
        Template(
            bytes.fromhex(order.frame), order.head_at, order.checksum_at, order.base,
            order.echo_seq_at,
        )
    )  # fmt: skip
    clock = time.monotonic_ns
    period = _SECOND / order.rate
    errors: Counter[str] = Counter()
    late = moves = moved = in_a_row = largest = 0
    last = 0
    start = clock()
    k = 0
    while not stop and (not order.count or k < order.count):
        due = start + int(k * period)
        now = clock()
        if now < due:
            in_a_row = 0
            if due - now > _SECOND // 10:
                stop.wait((due - now) / _SECOND)
            else:
                time.sleep((due - now) / _SECOND)
            now = clock()
            if stop:
                break
        else:
            in_a_row += 1
            if in_a_row > BURST and now - due > period:
                moves += 1
                moved += now - due
                start += now - due
                due, in_a_row = now, 0
        seq = (order.first_seq + k) & MASK
        k += 1
        late += now - due > period
        frame = patcher.number(seq, now)
        try:
            # Never wait for room: a stalled netdev must not stall the schedule unseen.
            link.send(frame, socket.MSG_DONTWAIT)
        except OSError as error:
            errors[errno.errorcode.get(error.errno or 0, str(error.errno))] += 1
            continue
        writer.add(now, seq)
        if last:
            largest = max(largest, now - last)
        last = now
        if writer.count == min(FLOWING_AFTER, order.count or FLOWING_AFTER):
            tell(EVENT_FLOWING, seq=seq)
    return SendSummary(
        sent=writer.count, failed=errors.total(), late=late, moves=moves, moved_ns=moved,
        largest_gap_ns=largest, errors=dict(errors),
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
