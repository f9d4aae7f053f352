"""Numbered frames: sent from a netdev, and counted where they come in.

For questions to a NIC (``harness.nicprobe``), not for measuring: there are no times. A frame
carries a key of its run, the number of its flow and its own number, below an EtherType that no
protocol stack listens to; whatever tags it has on the way, it is known by the key.

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
Sources: packet(7); IEEE 802 (EtherType 0x88B5 is for local experiments).
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Any

from harness.reach.agent.core import Agent, Args

_ETH_P_ALL, _PACKET_OUTGOING = 0x0003, 4
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_PROMISC = 263, 1, 1
_TAIL = struct.Struct("!II")
_SHORTEST = 60
_RECEIVE_BUFFER = 4 << 20
_ROOM_S = 1.0
_listeners: dict[int, _Listener] = {}


class _Listener:
    """Counts the frames of one run on some netdevs until it is closed."""

    def __init__(self, names: list[str], key: bytes, promiscuous: bool) -> None:
        self._key = key
        self._sockets: dict[int, tuple[str, socket.socket]] = {}
        self.numbers: dict[str, dict[int, list[int]]] = {name: {} for name in names}
        self.last = time.monotonic()
        self._stop = threading.Event()
        try:
            for name in names:
                self._open(name, promiscuous)
        except OSError:
            self.close()
            raise
        threading.Thread(target=self._count, daemon=True, name="frames").start()

    def _open(self, name: str, promiscuous: bool) -> None:
        # All protocols: those of one are handed out behind a bridge, which takes all frames.
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._sockets[packets.fileno()] = (name, packets)
        packets.setblocking(False)
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        packets.bind((name, _ETH_P_ALL))
        if promiscuous:
            membership = struct.pack(
                "=iHH8s", socket.if_nametoindex(name), _PACKET_MR_PROMISC, 0, b""
            )
            packets.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, membership)

    def _count(self) -> None:
        poll = select.poll()
        for handle in self._sockets:
            poll.register(handle, select.POLLIN)
        while not self._stop.is_set():
            for handle, _events in poll.poll(100):
                name, packets = self._sockets[handle]
                with contextlib.suppress(OSError):  # its netdev went down, or away
                    data, address = packets.recvfrom(2048)
                    if address[2] != _PACKET_OUTGOING:
                        self._frame(name, data)
        for _name, packets in self._sockets.values():
            packets.close()

    def _frame(self, name: str, data: bytes) -> None:
        at = data.find(self._key, 12)
        if at < 0 or len(data) < at + len(self._key) + _TAIL.size:
            return
        flow, number = _TAIL.unpack_from(data, at + len(self._key))
        self.numbers[name].setdefault(flow, []).append(number)
        self.last = time.monotonic()

    def close(self) -> None:
        self._stop.set()


def frames_listen(
    agent: Agent, handle: int, names: list[str], key: str, promiscuous: bool = False
) -> None:
    """Count the frames with this key (hexadecimal) that come in by these netdevs."""
    listener = _listeners[handle] = _Listener(names, bytes.fromhex(key), promiscuous)
    agent.on_undo(f"listener {handle}", listener.close)


def frames_counts(agent: Agent, handle: int, quiet_s: float, within_s: float) -> Args:
    """End listening once no frame has come for ``quiet_s``, or after ``within_s``.

    By netdev and flow (as text: a JSON key): how many numbers came, and how many frames.
    """
    listener = _listeners.pop(handle)
    pause = threading.Event()
    begun = time.monotonic()
    while (now := time.monotonic()) - begun < within_s:
        since = now - max(begun, listener.last)
        if since >= quiet_s:
            break
        pause.wait(quiet_s - since)
    agent.undo(f"listener {handle}")
    return {
        name: {str(flow): [len(set(numbers)), len(numbers)] for flow, numbers in flows.items()}
        for name, flows in listener.numbers.items()
    }


def frames_send(
    agent: Agent, name: str, head: str, key: str, flow: int, count: int, interval_s: float
) -> int:
    """Send frames 0 to ``count`` - 1 behind ``head`` (hexadecimal: addresses, tags, EtherType).

    How many the kernel took.
    """
    start = bytes.fromhex(head) + bytes.fromhex(key)
    pause = threading.Event()
    taken = 0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packets:  # 0: receives nothing
        packets.settimeout(_ROOM_S)
        packets.bind((name, 0))
        for number in range(count):
            frame = (start + _TAIL.pack(flow, number)).ljust(_SHORTEST, b"\0")
            # A refusal (a queue that is full, a link that is down) is a frame not sent.
            with contextlib.suppress(OSError):
                packets.send(frame)
                taken += 1
            pause.wait(interval_s)
    return taken


OPS: dict[str, Any] = {
    action.__name__: action for action in (frames_listen, frames_counts, frames_send)
}
