"""The numbers in a capture's frames, found for many frames at once.

``windows`` cuts the file into pieces of whole blocks. In a piece the blocks are a chain, each
saying how long it is; where many of one length follow each other, numpy finds the end of
the run, and other blocks are walked one by one. Fields are then gathered at the blocks' places
for all frames together: time and memory grow with the frames, and no frame becomes an object.

Neighbours: ``pcapng`` has the blocks' layout, ``layout`` the payload's; ``arrivals`` uses
it. The same, frame by frame and slowly, is in ``tests/traffic/slow_reader.py``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.traffic.layout import HEAD, MAGIC
from harness.traffic.pcapng import FLAGS, FRAME_AT, PACKET, PACKET_SMALLEST

Ints = npt.NDArray[np.int64]
_RUN_AFTER = 8
"""So many blocks of one length in a row are taken for a run."""
_PROBE = 1024
_HEAD_PAIR = struct.Struct("<II")
_SMALLEST_FRAME = 14 + 20 + 8 + HEAD.size
_VLAN = (0x8100, 0x88A8)
_IPV4, _IPV6 = 0x0800, 0x86DD
_PROTOCOLS = (17, 1, 58)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The chain of a piece of a file: where its packet blocks begin, and all others; where the
    first block begins that is not whole in it (``end``)."""

    packets: Ints
    others: list[int]
    end: int


def walk(piece: bytes) -> Blocks:
    """Follow the chain from the start of ``piece`` to the last block that is whole in it.

    ``end`` is also where a block says that it is shorter than a block can be.
    """
    found: list[Ints] = []
    singles: list[int] = []
    others: list[int] = []
    size, at, before, in_a_row = len(piece), 0, 0, 0
    unpack = _HEAD_PAIR.unpack_from
    while at + 8 <= size:
        kind, length = unpack(piece, at)
        if length < 12 or at + length > size:
            break
        if kind != PACKET:
            others.append(at)
            at += length
            in_a_row = 0
            continue
        in_a_row = in_a_row + 1 if length == before else 0
        before = length
        singles.append(at)
        at += length
        if in_a_row >= _RUN_AFTER:
            count = _run(piece, at, length)
            if count:
                found += (np.array(singles, dtype=np.int64), at + length * np.arange(count))
                singles = []
                at += count * length
            in_a_row = 0
    found.append(np.array(singles, dtype=np.int64))
    return Blocks(np.concatenate(found), others, at)


def _run(piece: bytes, at: int, length: int) -> int:
    """How many packet blocks of this length follow each other from ``at``, whole."""
    room = (len(piece) - at) // length
    heads = np.ndarray((room, 2), "<u4", piece, at, (length, 4)) if room else np.empty((0, 2))
    done, probe = 0, _PROBE
    while done < room:
        some = heads[done : done + probe]
        differs = (some[:, 0] != PACKET) | (some[:, 1] != length)
        if differs.any():
            return done + int(np.argmax(differs))
        done += len(some)
        probe *= 2
    return done


@dataclass(frozen=True, slots=True, eq=False)
class NumberedFrames:
    """Frames that carry a number, in the order captured; arrays of equal length.

    ``real_ns`` is the kernel's stamp, ``outgoing`` whether the frame left the interface,
    ``dscp`` the IP header's, ``port`` the UDP destination port and ``icmp_type`` the first octet
    after the IP header (each of these two means something for its ``protocol`` only).
    """

    real_ns: Ints
    outgoing: npt.NDArray[np.bool_]
    version: Ints
    dscp: Ints
    protocol: Ints
    port: Ints
    icmp_type: Ints
    stream_id: Ints
    seq: Ints


class _Fields:
    """Reads of one width at many places of a piece."""

    def __init__(self, piece: bytes) -> None:
        self._octets = np.frombuffer(piece, dtype=np.uint8)

    def octet(self, at: Ints) -> Ints:
        return self._octets[at].astype(np.int64)

    def big16(self, at: Ints) -> Ints:
        return self.octet(at) << 8 | self._octets[at + 1]

    def big32(self, at: Ints) -> Ints:
        return self.big16(at) << 16 | self.big16(at + 2)

    def little16(self, at: Ints) -> Ints:
        return self.octet(at + 1) << 8 | self._octets[at]

    def little32(self, at: Ints) -> Ints:
        return self.little16(at + 2) << 16 | self.little16(at)


def damaged(piece: bytes, packets: Ints) -> int | None:
    """Where the first packet block begins that says its frame is longer than itself."""
    fields = _Fields(piece)
    length, kept = fields.little32(packets + 4), fields.little32(packets + 20)
    wrong = kept + (-kept % 4) > length - PACKET_SMALLEST
    return int(packets[np.argmax(wrong)]) if wrong.any() else None


def numbered(piece: bytes, packets: Ints) -> NumberedFrames:
    """The frames with a number among the packet blocks at ``packets``, none of them damaged.

    VLAN tags and IPv4 options are stepped over, IPv6 extension headers are not.
    """
    fields = _Fields(piece)
    kept = fields.little32(packets + 20)
    block, kept = _where(kept >= _SMALLEST_FRAME, packets, kept)
    frame, end = block + FRAME_AT, block + FRAME_AT + kept
    network = frame + 12
    kind = fields.big16(network)
    while True:
        tagged = np.flatnonzero(np.isin(kind, _VLAN) & (network + 6 < end))
        if tagged.size == 0:
            break
        network[tagged] += 4
        kind[tagged] = fields.big16(network[tagged])
    network += 2
    ip = np.isin(kind, (_IPV4, _IPV6)) & (network + 20 <= end)
    block, kept, end, network, kind = _where(ip, block, kept, end, network, kind)
    four = kind == _IPV4
    # The traffic class is IPv4's second octet; of IPv6, four bits of the first two each.
    dscp = np.where(four, fields.octet(network + 1), fields.big16(network) >> 4 & 0xFF) >> 2
    protocol = fields.octet(network + np.where(four, 9, 6))
    transport = network + np.where(four, (fields.octet(network) & 15) * 4, 40)
    whole = np.isin(protocol, _PROTOCOLS) & (transport + 8 + HEAD.size <= end)
    block, kept, four, dscp, protocol, transport = _where(
        whole, block, kept, four, dscp, protocol, transport
    )
    ours = fields.big32(transport + 8) == MAGIC
    block, kept, four, dscp, protocol, transport = _where(
        ours, block, kept, four, dscp, protocol, transport
    )
    # The options begin after the frame's padding; the first is ours, if there is any.
    option = block + FRAME_AT + kept + (-kept % 4)
    has_option = option + 12 <= block + fields.little32(block + 4)
    safe = np.where(has_option, option, block)
    flags = np.where(has_option & (fields.little16(safe) == FLAGS), fields.octet(safe + 4), 0)
    return NumberedFrames(
        real_ns=fields.little32(block + 12) << 32 | fields.little32(block + 16),
        outgoing=flags & 3 == 2,
        version=np.where(four, 4, 6),
        dscp=dscp,
        protocol=protocol,
        port=fields.big16(transport + 2),
        icmp_type=fields.octet(transport),
        stream_id=fields.big16(transport + 12),
        seq=fields.big32(transport + 16),
    )


def _where(chosen: npt.NDArray[np.bool_], *arrays: Ints) -> tuple[Ints, ...]:
    """The chosen rows of each array; all of them, untouched, when all are chosen."""
    return arrays if chosen.all() else tuple(array[chosen] for array in arrays)
