"""A program that captures an interface from inside a namespace to a pcapng file:
``python -m harness.traffic.capture``.

The order comes on stdin (``programs.CaptureOrder``); a line there, or its end, stops it. Frames
carry the kernel's receive stamps (CLOCK_REALTIME); what that clock is ahead of
CLOCK_MONOTONIC is read at the start, every second, and at the end, and kept in the file.
What is captured is in the file a tenth of a second later at most.

Neighbours: ``client`` starts it, ``pcapng`` is the file's format, ``arrivals`` reads it.
"""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import time
from dataclasses import asdict
from pathlib import Path

from harness.traffic.pcapng import ClockReading, PcapngWriter
from harness.traffic.programs import (
    EVENT_PROBLEM,
    EVENT_READY,
    EVENT_SUMMARY,
    CaptureOrder,
    CaptureSummary,
    StopSignal,
    read_order,
    run_ahead,
    tell,
)

# linux/if_packet.h and asm-generic/socket.h; Python's socket module lacks them
_SOL_PACKET, _ADD_MEMBERSHIP, _STATISTICS, _AUXDATA, _IGNORE_OUTGOING = 263, 1, 6, 8, 23
_PROMISCUOUS, _VLAN_VALID = 1, 1 << 4
_SO_TIMESTAMPNS, _SO_RCVBUFFORCE = 35, 33
_ETH_P_ALL = 3
_BUFFER = 64 << 20
_TIMESPEC = struct.Struct("@qq")
_AUX = struct.Struct("@IIIHHHH")
_IN, _OUT = 1, 2
_FLUSH_S = 0.05
_SECOND = 1_000_000_000


def main() -> int:
    order = read_order(CaptureOrder)
    try:
        link = open_link(order)
        writer = PcapngWriter(
            Path(order.path), interface=order.interface, snaplen=order.snaplen,
            program=order.harness,
        )  # fmt: skip
    except OSError as error:
        tell(EVENT_PROBLEM, text=f"{order.interface}: {error}")
        return 1
    stop = StopSignal()
    run_ahead()
    tell(EVENT_READY)
    summary = keep_frames(link, writer, order.snaplen, stop)
    writer.close()
    tell(EVENT_SUMMARY, **asdict(summary))
    return 0


def open_link(order: CaptureOrder) -> socket.socket:
    """A packet socket that starts with nothing in its queue from other interfaces."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
    link.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    link.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    if not order.outgoing:
        link.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    if order.promiscuous:
        index = socket.if_nametoindex(order.interface)
        request = struct.pack("@iHH8s", index, _PROMISCUOUS, 0, b"")
        link.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
    link.bind((order.interface, _ETH_P_ALL))
    link.setblocking(False)
    return link


def read_clocks() -> ClockReading:
    """The best of a few readings of CLOCK_REALTIME between two of CLOCK_MONOTONIC."""
    best: ClockReading | None = None
    for _ in range(5):
        before, real, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        reading = ClockReading(real, real - (before + after) // 2, (after - before + 1) // 2)
        if best is None or reading.err_ns < best.err_ns:
            best = reading
    return best or ClockReading(0, 0, 0)


def keep_frames(
    link: socket.socket, writer: PcapngWriter, snaplen: int, stop: StopSignal
) -> CaptureSummary:
    """Write frames until ``stop`` is set and the socket's queue is empty."""
    first = last = read_clocks()
    writer.clock(first)
    writer.flush()
    flushed = time.monotonic()
    problem = ""
    while True:
        stopping = bool(stop)  # before the queue is emptied: what came until now is kept
        while select.select([link], [], [], 0 if stopping else _FLUSH_S)[0]:
            problem = _take_some(link, writer, snaplen) or problem
            if not stopping:
                break
        now = time.monotonic()
        if now - flushed >= _FLUSH_S:
            writer.flush()
            flushed = now
        if time.time_ns() - last.real_ns > _SECOND:
            last = read_clocks()
            writer.clock(last)
        if stopping:
            break
    end = read_clocks()
    _, dropped = struct.unpack("@II", link.getsockopt(_SOL_PACKET, _STATISTICS, 8))
    writer.clock(end, dropped=dropped)
    if problem:
        tell(EVENT_PROBLEM, text=problem)
    return CaptureSummary(
        captured=writer.count, dropped=dropped, offset_start_ns=first.offset_ns,
        offset_end_ns=end.offset_ns, offset_err_ns=max(first.err_ns, end.err_ns),
    )  # fmt: skip


def _take_some(link: socket.socket, writer: PcapngWriter, snaplen: int) -> str:
    """Write what is in the queue, at most so much that flushes are not kept waiting."""
    room = ctypes.sizeof(ctypes.c_long) * 32
    for _ in range(2000):
        try:
            frame, control, _, address = link.recvmsg(65536, room)
        except BlockingIOError:
            return ""
        except OSError as error:
            if error.errno == errno.ENETDOWN:  # told once; frames come again when it is up
                return f"{link.getsockname()[0]} went down while it was captured"
            raise
        real_ns = 0
        tag: bytes = b""
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                seconds, nanoseconds = _TIMESPEC.unpack(data)
                real_ns = seconds * _SECOND + nanoseconds
            elif level == _SOL_PACKET and kind == _AUXDATA:
                status, _, _, _, _, tci, tpid = _AUX.unpack(data)
                if status & _VLAN_VALID:  # the kernel took the tag out of the frame
                    tag = struct.pack("!HH", tpid or 0x8100, tci)
        if tag:
            frame = frame[:12] + tag + frame[12:]
        outgoing = address[2] == socket.PACKET_OUTGOING
        writer.packet(
            real_ns or time.time_ns(), frame[:snaplen], len(frame), _OUT if outgoing else _IN
        )
    return ""


if __name__ == "__main__":
    raise SystemExit(main())
