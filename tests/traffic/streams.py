"""The streams that the tests of this room send."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.measure import Trace
from harness.traffic.client import Capture, Sender
from harness.traffic.programs import CaptureSummary, SendSummary
from harness.traffic.records import Records
from harness.traffic.stream import StreamSpec
from tests.traffic.namespaces import Side

UDP = StreamSpec.between(
    "10.9.0.1", "10.9.0.2", name="up", protocol="udp", source_mac="02:00:00:00:00:01",
    destination_mac="02:00:00:00:00:02", stream_id=7, rate=2000.0, size=128, source_port=4000,
    destination_port=5000, count=2000,
)  # fmt: skip
UDP6 = StreamSpec.between(
    "fd00:9::1", "fd00:9::2", name="up6", protocol="udp", source_mac="02:00:00:00:00:01",
    destination_mac="02:00:00:00:00:02", stream_id=8, rate=1000.0, size=128, source_port=4000,
    destination_port=5000, count=200,
)  # fmt: skip
ECHO = replace(UDP, name="echo", protocol="icmp-echo", stream_id=9, rate=500.0, count=200)
ECHO6 = replace(UDP6, name="echo6", protocol="icmp-echo", stream_id=10, rate=500.0, count=200)


def trace(records: Records) -> Trace:
    return Trace(records.seq, records.t_ns)


def send_and_capture(
    sender: Side, receiver: Side, spec: StreamSpec, path: Path, *, first_seq: int = 0
) -> tuple[SendSummary, CaptureSummary]:
    """The whole stream, while the receiver's interface is captured.

    A capture takes what has come until it is told to stop; on a veth pair (no netem) a frame
    has come when its send returns.
    """
    capture = Capture.start(
        receiver.spawn, interface=receiver.interface, path=path / "a.pcapng", promiscuous=True
    )
    try:
        sending = Sender.start(
            sender.spawn, spec, interface=sender.interface, sends=path / "a.sends",
            first_seq=first_seq,
        )  # fmt: skip
        sent = sending.join(30)
        return sent, capture.stop()
    finally:
        capture.kill()
