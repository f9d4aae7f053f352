"""An OpenPGP key and its signatures, so that apt trusts a mirror that a test makes.

Only what apt's verifiers (gpgv, sqv) ask for: an RSA key of version 4 with a certified user
ID, and detached binary signatures. Source: RFC 4880, sections 4.2, 5.2 and 5.5.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

_USER = b"a test's own archive"
_BINARY, _CERTIFICATION = 0x00, 0x13


def _packet(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 0xFF]) + struct.pack(">I", len(body)) + body


def _number(value: int) -> bytes:
    return struct.pack(">H", value.bit_length()) + value.to_bytes((value.bit_length() + 7) // 8)


def _subpacket(kind: int, body: bytes) -> bytes:
    return bytes([len(body) + 1, kind]) + body


def _armoured(packet: bytes) -> bytes:
    check = 0xB704CE  # RFC 4880, 6.1
    for octet in packet:
        check ^= octet << 16
        for _ in range(8):
            check = check << 1 ^ (0x1864CFB if check & 0x800000 else 0)
    return (
        b"-----BEGIN PGP SIGNATURE-----\n\n"
        + base64.encodebytes(packet)
        + b"="
        + base64.b64encode(check.to_bytes(3))
        + b"\n-----END PGP SIGNATURE-----\n"
    )


class SigningKey:
    """A fresh key. ``public`` is what goes into a keyring file."""

    def __init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._made = int(time.time()) - 3600
        numbers = self._key.public_key().public_numbers()
        self._body = struct.pack(">BIB", 4, self._made, 1) + _number(numbers.n) + _number(numbers.e)
        self._hashed_key = b"\x99" + struct.pack(">H", len(self._body)) + self._body
        self._fingerprint = hashlib.sha1(self._hashed_key).digest()
        certified = self._hashed_key + b"\xb4" + struct.pack(">I", len(_USER)) + _USER
        may_sign = _subpacket(27, b"\x03")
        self.public = (
            _packet(6, self._body)
            + _packet(13, _USER)
            + self._signature(_CERTIFICATION, certified, may_sign)
        )

    def sign(self, content: bytes) -> bytes:
        """A detached signature of ``content``, as text (apt takes no other)."""
        return _armoured(self._signature(_BINARY, content))

    def _signature(self, kind: int, content: bytes, more: bytes = b"") -> bytes:
        hashed = (
            _subpacket(2, struct.pack(">I", self._made))
            + _subpacket(33, b"\x04" + self._fingerprint)
            + more
        )
        head = struct.pack(">BBBBH", 4, kind, 1, 8, len(hashed)) + hashed
        trailer = b"\x04\xff" + struct.pack(">I", len(head))
        digest = hashlib.sha256(content + head + trailer).digest()
        value = self._key.sign(digest, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
        issuer = _subpacket(16, self._fingerprint[-8:])
        body = head + struct.pack(">H", len(issuer)) + issuer + digest[:2]
        return _packet(2, body + _number(int.from_bytes(value)))
