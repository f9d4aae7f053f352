"""Bit layouts that several programs share: the numbered payload, and the template of a frame.

The payload's head, in network order, the same in ``images/guest/labprobe.c``:

    magic "FHPT" u32 | stream u16 | flags u16 (0) | seq u32 | send time u64, ns, sender's clock

and zeroes after it. Imports nothing heavy: the sender and the capture start with it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAGIC = 0x46485054
HEAD = struct.Struct("!IHHIQ")
MASK = 0xFFFFFFFF
_WORDS = struct.Struct("!IQ")
_SEQ_AT = 8  # of seq and send time within the head


@dataclass(frozen=True, slots=True)
class Template:
    """A ready frame with number 0 and time 0, and where it is patched (octets from its start).

    ``base`` is the one's complement sum that the frame's UDP or ICMP checksum was made of.
    ``echo_seq_at`` is the ICMP header's own 16-bit number, None for UDP. The head has to lie
    on an even distance from the checksummed part's start, which it does in UDP and ICMP.
    """

    frame: bytes
    head_at: int
    checksum_at: int
    base: int
    echo_seq_at: int | None = None


class Patcher:
    """Numbers a template's frame in place: one buffer, no copy but the kernel's."""

    def __init__(self, template: Template) -> None:
        self.buffer = bytearray(template.frame)
        self._template = template
        self._at = template.head_at + _SEQ_AT

    def number(self, seq: int, t_ns: int) -> bytearray:
        """The frame of packet ``seq``, sent at ``t_ns``; valid until the next call.

        The checksum is the template's with the new words added (RFC 1624: the old words
        were zero).
        """
        template, buffer = self._template, self.buffer
        _WORDS.pack_into(buffer, self._at, seq, t_ns)
        total = template.base + (seq >> 16) + (seq & 0xFFFF)
        total += (t_ns >> 48) + (t_ns >> 32 & 0xFFFF) + (t_ns >> 16 & 0xFFFF) + (t_ns & 0xFFFF)
        if template.echo_seq_at is not None:
            struct.pack_into("!H", buffer, template.echo_seq_at, seq & 0xFFFF)
            total += seq & 0xFFFF
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        checksum = ~total & 0xFFFF
        if checksum == 0 and template.echo_seq_at is None:
            checksum = 0xFFFF  # 0 means "none" in UDP (RFC 768)
        struct.pack_into("!H", buffer, template.checksum_at, checksum)
        return buffer
