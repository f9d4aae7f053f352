"""Follow the forwarding entries of bridges, as the kernel announces them (RTNLGRP_NEIGH).

A bridge tells when it learns a MAC address, when the address moves to another port, and when
the entry goes; it says nothing of frames that change nothing. So this thread sleeps while
nothing happens, however much traffic there is. The messages are taken apart here: on an
emulated host, pyroute2's parser would make the time of receipt a late one.

The kernel puts no time on an announcement. It was sent before it was received, and how long
before is what the kernel kept this thread waiting for a processor (proc(5), schedstat).

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
Sources: linux/rtnetlink.h, linux/neighbour.h; br_fdb_update() and fdb_fill_info() in the
kernel's net/bridge/br_fdb.c.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from harness.reach.agent.core import Agent, Args, Failure

_RTM_NEWNEIGH, _RTM_DELNEIGH, _RTM_GETNEIGH = 28, 29, 30
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_DUMP_REQUEST = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_RTMGRP_NEIGH = 0x4
_AF_BRIDGE = 7
_NDA_LLADDR, _NDA_VLAN, _NDA_MASTER = 2, 5, 9
_NUD_STATIC = 0x40 | 0x80  # NUD_NOARP, NUD_PERMANENT
_SO_RCVBUFFORCE = 33
_BUFFER = 1 << 20
_DUMP_S = 10.0


class _Entry:
    """What one message says of one entry of one bridge."""

    def __init__(self, kind: int, port: int, state: int, mac: str, bridge: int, vlan: int) -> None:
        self.gone = kind == _RTM_DELNEIGH
        self.port, self.bridge, self.mac, self.vlan = port, bridge, mac, vlan
        self.static = bool(state & _NUD_STATIC)


def _entries(data: bytes) -> Iterator[tuple[int, _Entry | None]]:
    """(message type, entry) of each message; None for what is not an entry of a bridge."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 16:
            return
        body = data[at + 16 : at + length]
        at += (length + 3) & ~3
        entry = None
        if kind in (_RTM_NEWNEIGH, _RTM_DELNEIGH) and len(body) >= 12 and body[0] == _AF_BRIDGE:
            entry = _entry(kind, body)
        yield kind, entry


def _entry(kind: int, body: bytes) -> _Entry | None:
    _, port, state = struct.unpack_from("=B3xiH", body)
    found: dict[int, bytes] = {}
    at = 12
    while at + 4 <= len(body):
        length, name = struct.unpack_from("=HH", body, at)
        if length < 4:
            break
        found[name & 0x3FFF] = body[at + 4 : at + length]
        at += (length + 3) & ~3
    # Without a master it is an entry of a netdev's own filter, and no bridge's.
    if _NDA_LLADDR not in found or _NDA_MASTER not in found:
        return None
    mac = ":".join(f"{octet:02x}" for octet in found[_NDA_LLADDR])
    vlan = struct.unpack("=H", found[_NDA_VLAN])[0] if _NDA_VLAN in found else 0
    return _Entry(kind, port, state, mac, struct.unpack("=I", found[_NDA_MASTER])[0], vlan)


class _Watch:
    """One watch: its socket, and which port has which of the addresses."""

    def __init__(self, agent: Agent, handle: int, macs: list[str]) -> None:
        self._agent, self._handle = agent, handle
        self._macs = {mac.lower() for mac in macs}
        self._ports: dict[tuple[int, str, int], int] = {}
        self._names: dict[int, str] = {}
        self.at_start: list[Args] = []
        self._ended, self._end = os.pipe()
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        with contextlib.suppress(PermissionError):
            self._netlink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        # Announcements first, so that nothing is missed between the dump and them.
        self._netlink.bind((0, _RTMGRP_NEIGH))
        self._netlink.setblocking(False)
        self._dump()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="fdb")
        self._thread.start()

    def _dump(self) -> None:
        """Learn where the addresses are now. (On a socket of its own: an announcement must not
        be taken for the dump's.)"""
        header = struct.pack("=IHHII", 28, _RTM_GETNEIGH, _DUMP_REQUEST, 1, 0)
        request = header + struct.pack("=B3xiHBB", _AF_BRIDGE, 0, 0, 0, 0)
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asked:
            asked.settimeout(_DUMP_S)
            asked.send(request)
            while True:
                for kind, entry in _entries(asked.recv(1 << 17)):
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _NLMSG_ERROR:
                        raise OSError(errno.EPROTO, "the kernel lists no forwarding entries")
                    if entry and entry.mac in self._macs:
                        self._ports[entry.bridge, entry.mac, entry.vlan] = entry.port
                        self.at_start.append(self._told(entry))

    def _follow(self) -> None:
        poll = select.poll()
        poll.register(self._netlink, select.POLLIN)
        poll.register(self._ended, select.POLLIN)
        seen = _now()
        try:
            while True:
                before, waited = seen, _waited_ns()
                if asleep := not poll.poll(0):
                    poll.poll()
                if select.select([self._ended], [], [], 0)[0] or self._agent.closing:
                    return  # what is being undone now is no news
                try:
                    data = self._netlink.recv(1 << 17)
                except BlockingIOError:
                    continue
                seen = _now()
                since = seen - (_waited_ns() - waited) if asleep else before
                for _, entry in _entries(data):
                    if entry and entry.mac in self._macs:
                        self._changed(entry, since, seen)
        except OSError as error:
            # ENOBUFS: announcements were dropped, so the table here may be wrong from now on.
            text = "the kernel dropped announcements" if error.errno == errno.ENOBUFS else error
            self._agent.event("fdb-lost", handle=self._handle, problem=str(text), at_ns=_now())
        finally:
            self._netlink.close()

    def _changed(self, entry: _Entry, since: int, seen: int) -> None:
        key = (entry.bridge, entry.mac, entry.vlan)
        before = self._ports.get(key)
        if entry.gone:
            if before is None:
                return
            change = "removed"
            del self._ports[key]
        elif before == entry.port:
            return  # another attribute of it changed
        else:
            change = "learned" if before is None else "moved"
            self._ports[key] = entry.port
        self._agent.event(
            "fdb", handle=self._handle, change=change,
            former="" if before is None else self._name(before),
            since_ns=since, seen_ns=seen, **self._told(entry),
        )  # fmt: skip

    def _told(self, entry: _Entry) -> Args:
        return {
            "mac": entry.mac,
            "vlan": entry.vlan,
            "bridge": self._name(entry.bridge),
            "port": self._name(entry.port),
            "static": entry.static,
        }

    def _name(self, index: int) -> str:
        """The name of a netdev; of one that has gone, that which it had."""
        with contextlib.suppress(OSError):
            self._names[index] = socket.if_indextoname(index)
        return self._names.get(index, str(index))

    def stop(self) -> None:
        """No event comes after this returned."""
        os.write(self._end, b"x")
        self._thread.join(5)
        for handle in (self._end, self._ended):
            os.close(handle)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def _waited_ns() -> int:
    """How long this thread has run, and waited to run, so far; 0 where nobody counts that."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            ran, waited, _ = file.read().split()
    except (OSError, ValueError):
        return 0
    return int(ran) + int(waited)


def fdb_watch(agent: Agent, handle: int, macs: list[str]) -> list[Args]:
    """Report each change of the entries of ``macs`` in this network namespace's bridges as an
    ``fdb`` event: ``learned``, ``moved`` (``former`` is the port that had it) or ``removed``.

    It happened between ``since_ns`` and ``seen_ns`` (CLOCK_MONOTONIC of this machine).
    ``fdb-lost`` is the last event of a watch that can no longer tell. Returns where the
    addresses are at the start.
    """
    try:
        watch = _Watch(agent, handle, macs)
    except OSError as error:
        problem = error.strerror or str(error)
        raise Failure(f"follow fdb entries: {problem}", "os", error.errno or 0) from error
    agent.on_undo(f"watch {handle} of fdb entries", watch.stop)
    return watch.at_start


def fdb_unwatch(agent: Agent, handle: int) -> None:
    """End a watch; one that was ended before is no error."""
    agent.undo(f"watch {handle} of fdb entries")


OPS: dict[str, Any] = {action.__name__: action for action in (fdb_watch, fdb_unwatch)}
