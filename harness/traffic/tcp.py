"""A program that is one end of a checked TCP stream in a namespace:
``python -m harness.traffic.tcp``.

The order comes on stdin (``programs.TcpOrder``); a line there, or its end, stops it. The sender
writes what is due every 10 to 30 ms, and what it could not write within a tenth it
does not make up for. The sink takes one connection, checks each octet and dates each receipt.

Neighbours: ``tcpclient`` starts it; ``tcprecord`` says what is sent and kept; labprobe does the
same in a guest.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
import time
from dataclasses import asdict, replace
from typing import Any

from harness.traffic.programs import (
    EVENT_FLOWING,
    EVENT_PROBLEM,
    EVENT_READY,
    EVENT_SUMMARY,
    StopSignal,
    TcpOrder,
    read_order,
    run_ahead,
    tell,
)
from harness.traffic.tcprecord import STALL_NS, RowKind, TcpRow, TcpTotals, ramp, wrong_octets

_SECOND = 1_000_000_000
_TICK_S = 0.01
_LONGEST_TICK_S = 0.03
_SEGMENT = 1448
_CATCH_UP_NS = 100_000_000
_CHUNK = 1 << 16
_AHEAD_RATE = 1_250_000
"""Octets a second. An end with more to do would take the processors that guests need."""
_LINGER_S = 2.0
_TOTAL_RETRANS_AT = 100  # of u32 tcpi_total_retrans in struct tcp_info (linux/tcp.h)


def main() -> int:
    order = read_order(TcpOrder)
    stop = StopSignal()
    if order.rate <= _AHEAD_RATE:
        run_ahead()
    try:
        link = _open(order)
    except OSError as error:
        tell(EVENT_PROBLEM, text=f"{order.role} {order.address} port {order.port}: {error}")
        return 1
    tell(EVENT_READY)
    account = _Account()
    with link:
        (_send if order.role == "sender" else _receive)(order, link, account, stop)
    tell(EVENT_SUMMARY, totals=asdict(account.totals), rows=[asdict(row) for row in account.rows])
    return 0


def _open(order: TcpOrder) -> socket.socket:
    six = ":" in order.address
    link = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if six:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, order.dscp << 2)
    else:
        link.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, order.dscp << 2)
    if order.role == "sink":
        link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        link.bind((order.address, order.port))
        link.listen(1)
    else:
        link.bind((order.source, 0))
    link.setblocking(False)
    return link


class _Account:
    """Rows and totals of one end, as they come about."""

    def __init__(self) -> None:
        self.rows: list[TcpRow] = []
        self.totals = TcpTotals(False, False, 0, 0, 0, -1, 0, 0, 0, 0, 0)
        self._told = (time.monotonic_ns(), 0)

    def set(self, **what: Any) -> None:
        self.totals = replace(self.totals, **what)

    def octets(self, count: int) -> None:
        if self.totals.octets == 0:
            tell(EVENT_FLOWING)
        self.set(octets=self.totals.octets + count)

    def check(self, stream_id: int, data: bytes) -> None:
        """Take in what was received."""
        count, first = wrong_octets(stream_id, self.totals.octets, data)
        if count and self.totals.corrupt == 0:
            self.set(first_corrupt=first)
        self.set(corrupt=self.totals.corrupt + count)
        self.octets(len(data))

    def pause(self, begin: int, end: int, kind: RowKind) -> None:
        """A stall, or silence, if it was long enough; ``begin`` 0: there was none."""
        if begin and end - begin > STALL_NS:
            self.rows.append(TcpRow(end, kind, (end - begin) // 1000))
            longest = max(self.totals.longest_stall_ns, end - begin)
            self.set(stalls=self.totals.stalls + 1, longest_stall_ns=longest)

    def progress(self, link: socket.socket, *, end: bool = False) -> None:
        """Once a second, and at the end: how far it has come, and what the kernel says."""
        now, (told_ns, told) = time.monotonic_ns(), self._told
        if now - told_ns < _SECOND and not end:
            return
        self.rows.append(TcpRow(now, "progress", self.totals.octets - told))
        self._told = (now, self.totals.octets)
        info = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        (segments,) = struct.unpack_from("@I", info, _TOTAL_RETRANS_AT)
        if segments != self.totals.retransmitted:
            self.rows.append(TcpRow(now, "retransmitted", segments))
            self.set(retransmitted=segments)


def _receive(order: TcpOrder, link: socket.socket, account: _Account, stop: StopSignal) -> None:
    connection = _accept(link, stop)
    if connection is None:
        return
    account.set(connected=True)
    last = 0
    with connection:
        while True:
            stopping = bool(stop)  # before the wait: what had come until then is read
            readable = select.select([connection], [], [], 0 if stopping else _TICK_S * 10)[0]
            now = time.monotonic_ns()
            if readable:
                try:
                    data = connection.recv(_CHUNK)
                except OSError as error:
                    account.set(broken=error.errno or 0)
                    break
                if not data:
                    account.set(whole=True)
                    break
                account.pause(last, now, "stall")
                last = now
                account.check(order.stream_id, data)
            elif stopping:
                break
            account.progress(connection)
        if not account.totals.whole:
            account.pause(last, time.monotonic_ns(), "silence")
        account.progress(connection, end=True)


def _accept(link: socket.socket, stop: StopSignal) -> socket.socket | None:
    while not stop:
        if select.select([link], [], [], _TICK_S * 10)[0]:
            connection, _ = link.accept()
            return connection
    return None


def _send(order: TcpOrder, link: socket.socket, account: _Account, stop: StopSignal) -> None:
    if not _connect(order, link, account, stop):
        return
    # At low rates fewer segments: each costs a guest that receives it, however small. Still well
    # below what counts as a stall.
    tick = min(_LONGEST_TICK_S, max(_TICK_S, _SEGMENT / order.rate))
    start, blocked = time.monotonic_ns(), 0
    while not stop and (not order.octets or account.totals.octets < order.octets):
        done, now = account.totals.octets, time.monotonic_ns()
        behind = now - start - int(done / order.rate * _SECOND)
        if behind > _CATCH_UP_NS:
            start += behind - _CATCH_UP_NS
            account.set(moved_ns=account.totals.moved_ns + behind - _CATCH_UP_NS)
            behind = _CATCH_UP_NS
        due = int(behind * order.rate / _SECOND)
        if order.octets:
            due = min(due, order.octets - done)
        if due <= 0:
            stop.wait(tick)
            account.progress(link)
            continue
        try:
            sent = link.send(ramp(order.stream_id, done, min(due, _CHUNK)))
        except BlockingIOError:
            blocked = blocked or now
            select.select([], [link], [], _TICK_S * 10)
            account.progress(link)
            continue
        except OSError as error:
            account.set(broken=error.errno or 0)
            break
        account.octets(sent)
        account.pause(blocked, now, "stall")
        blocked = 0
        account.progress(link)
        if sent == due:
            stop.wait(tick)
    account.pause(blocked, time.monotonic_ns(), "silence")
    _finish(link, account)


def _connect(order: TcpOrder, link: socket.socket, account: _Account, stop: StopSignal) -> bool:
    link.connect_ex((order.address, order.port))
    while not stop:
        if select.select([], [link], [], _TICK_S * 10)[1]:
            error = link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            account.set(connected=error == 0, broken=error)
            return error == 0
    return False


def _finish(link: socket.socket, account: _Account) -> None:
    """End the stream, and give what is under way some time to be acknowledged."""
    try:
        link.shutdown(socket.SHUT_WR)
    except OSError as error:
        account.set(broken=account.totals.broken or error.errno or 0)
    end = time.monotonic() + _LINGER_S
    left = _unacknowledged(link)
    while left and time.monotonic() < end:
        time.sleep(_TICK_S)
        left = _unacknowledged(link)
    account.set(unacknowledged=left)
    account.progress(link, end=True)


def _unacknowledged(link: socket.socket) -> int:
    (octets,) = struct.unpack("@i", fcntl.ioctl(link, termios.TIOCOUTQ, bytes(4)))
    return max(0, int(octets))


if __name__ == "__main__":
    raise SystemExit(main())
