"""tcpdump's captures of a tap, one file each direction, made one pcapng with the run's clock.

A pcap file has no direction and no reading of a clock. The frames of the two files are put
together in the order of time, each marked with the way it went, and with readings that tell
what the capturing machine's CLOCK_REALTIME was ahead of the run's clock. Read with scapy's
raw reader: it knows byte orders and nanoseconds, and takes no frame apart.

Neighbours: ``harness.lab.taps`` fetches such captures; ``pcapng`` is the format that
``arrivals`` reads again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RecordError
from harness.traffic.pcapng import ClockReading, PcapngWriter

_ETHERNET = 1
_SECOND = 1_000_000_000
_READ_EVERY_NS = 2 * _SECOND
_IN, _OUT = 1, 2

_Frame = tuple[int, int, bytes, int]
"""Time (ns), direction, octets kept, length."""


@dataclass(frozen=True, slots=True)
class Merged:
    """How many frames of each direction were in the two files."""

    inbound: int
    outbound: int


def merge_pcaps(
    inbound: Path,
    outbound: Path,
    target: Path,
    *,
    interface: str,
    snaplen: int,
    program: str,
    clock: Callable[[int], ClockReading],
    now_ns: int,
    dropped: int,
) -> Merged:
    """Write ``target``; linear in the frames. ``clock`` is asked for a reading at a
    CLOCK_REALTIME of the machine (ns), ``now_ns`` is one for a capture without frames;
    ``dropped`` frames the kernel could not give to tcpdump.

    Raises RecordError when a file is no capture of an Ethernet. One that was cut off has
    fewer frames than tcpdump counted: the caller knows how many there have to be.
    """
    counts = {_IN: 0, _OUT: 0}
    writer = PcapngWriter(target, interface=interface, snaplen=snaplen, program=program)
    try:
        read_at: int | None = None
        last = now_ns
        for time, direction, data, length in heapq.merge(
            _frames(inbound, _IN), _frames(outbound, _OUT), key=lambda frame: frame[0]
        ):
            if read_at is None or time - read_at >= _READ_EVERY_NS:
                writer.clock(clock(time))
                read_at = time
            writer.packet(time, data, length, direction)
            counts[direction] += 1
            last = time
        writer.clock(clock(last), dropped=dropped)
    finally:
        writer.close()
    return Merged(counts[_IN], counts[_OUT])


def _frames(path: Path, direction: int) -> Iterator[_Frame]:
    # Here, not above: scapy takes long to load, and most of what imports this needs none.
    from scapy.error import Scapy_Exception
    from scapy.utils import RawPcapReader

    try:
        reader = RawPcapReader(str(path))
    except (Scapy_Exception, OSError, EOFError) as error:
        raise RecordError(f"{path.name}: not a capture by tcpdump: {error}") from error
    with reader:
        if type(reader) is not RawPcapReader or reader.linktype != _ETHERNET:
            raise RecordError(f"{path.name}: not a pcap of an Ethernet")
        unit = 1 if reader.nano else 1000
        for data, about in reader:
            if len(data) < about.caplen:
                raise RecordError(f"{path.name}: cut off in the middle of a frame")
            yield about.sec * _SECOND + about.usec * unit, direction, data, about.wirelen
