"""The harness's end of ``tcp``: one end of a checked TCP stream in a namespace.

    sink = TcpEnd.start(spawn, spec, "sink")        # listens when this returns
    sender = TcpEnd.start(spawn, spec, "sender")
    sender.wait_flowing(10)
    sent, got = sender.stop(), sink.join(10)
    intact(sent, got)                               # tcprecord

A guest's end is ``GuestLink.start_tcp_sink`` and ``start_tcp_sender``, then ``stop`` and
``dump_tcp``. Neighbours: ``client`` starts programs and waits for them; ``scenario`` uses it.
"""

from __future__ import annotations

from typing import Any

from harness.errors import DeadlineExceeded
from harness.traffic.client import Program, Spawn
from harness.traffic.programs import EVENT_FLOWING, EVENT_SUMMARY, TcpOrder, order_line
from harness.traffic.tcprecord import Role, TcpRecord, TcpRow, TcpSpec, totals_of


class TcpEnd:
    """A running sender or sink; ``stop`` or ``join`` ends it and gives its record."""

    def __init__(self, spec: TcpSpec, role: Role, running: Program) -> None:
        self.spec = spec
        self.role = role
        self._program = running

    @classmethod
    def start(cls, spawn: Spawn, spec: TcpSpec, role: Role) -> TcpEnd:
        """Listen at the stream's destination, or connect from its source and send.

        Raises LabError when the sink's port is taken. A connection that is refused is in the
        sender's record (``broken``).
        """
        order = TcpOrder(
            role=role, stream_id=spec.stream_id, address=str(spec.destination), port=spec.port,
            source=str(spec.source), rate=spec.rate, octets=spec.total or 0, dscp=spec.dscp,
        )  # fmt: skip
        what = f"TCP {role} of stream {spec.name}"
        return cls(spec, role, Program(what, spawn, "tcp", order_line(order)))

    @property
    def pid(self) -> int:
        return self._program.pid

    def wait_flowing(self, timeout: float) -> None:
        """Until the first octets went out, or came. LabError when it ends before."""
        self._program.wait_event(EVENT_FLOWING, timeout)

    def wait_ended(self, timeout: float) -> bool:
        """Whether it has come to its end by then; it goes on, or its record waits for ``stop``.

        LabError when it ended without a record.
        """
        try:
            self._program.wait_event(EVENT_SUMMARY, timeout)
        except DeadlineExceeded:
            return False
        return True

    def stop(self, timeout: float = 10.0) -> TcpRecord:
        return self._record(self._program.stop(timeout))

    def join(self, timeout: float) -> TcpRecord:
        """When the sender has sent all, or the sink has seen the end."""
        return self._record(self._program.join(timeout))

    def kill(self) -> None:
        self._program.kill()

    def _record(self, said: dict[str, Any]) -> TcpRecord:
        return TcpRecord(
            stream_id=self.spec.stream_id, role=self.role, clock="run",
            totals=totals_of(said["totals"]), rows=tuple(TcpRow(**row) for row in said["rows"]),
        )  # fmt: skip
