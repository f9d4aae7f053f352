"""Netdevs, addresses, forwarding entries and impairments, by netlink (pyroute2).

Names travel as netlink attributes, never through a command line: a bridge may be called
``brd`` here, which ``ip`` takes for a keyword. Each request opens and closes its own socket,
because a pyroute2 0.9 socket belongs to one thread; ``held`` keeps one open in a thread
that has to be quick.

Runs on the machine, under Python 3.9 and newer; see ``core`` for the protocol.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.util
import os
import socket
import struct
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

from harness.reach.agent.core import Agent, Args, Failure

_TUNSETIFF, _TUNSETPERSIST = 0x400454CA, 0x400454CB
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR, _IFF_MULTI_QUEUE = 0x2, 0x1000, 0x4000, 0x100
_IFF_TUN_EXCL, _IFF_UP = 0x8000, 0x1
_NTF_SELF, _NTF_MASTER = 0x2, 0x4
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_RTEXT_FILTER_VF = 1
_NO_MAC = "00:00:00:00:00:00"
_open = threading.local()


def load_pyroute2() -> None:
    """Import what is needed of pyroute2, and not all that its ``__init__`` does: nftables, a
    database, conntrack, ... take half of its time, which on an emulated host is seconds."""
    if "pyroute2" in sys.modules:
        return
    spec = importlib.util.find_spec("pyroute2")
    places = spec.submodule_search_locations if spec else None
    if not places:
        raise ImportError("No module named 'pyroute2'")
    package: Any = types.ModuleType("pyroute2")
    package.__path__, package.__spec__ = list(places), spec
    sys.modules["pyroute2"] = package
    try:
        from pyroute2.iproute import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError
    except (ImportError, AttributeError):
        # A version whose parts do not come without the whole.
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyroute2"]:
            del sys.modules[name]
        import pyroute2  # noqa: F401
    else:
        package.IPRoute, package.NetlinkError = IPRoute, NetlinkError


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Keep one netlink socket open for this thread."""
    with _netlink() as ip:
        _open.ip = ip
        try:
            yield
        finally:
            del _open.ip


@contextlib.contextmanager
def _netlink() -> Iterator[Any]:
    """An IPRoute of this thread; its errors become Failure."""
    try:
        load_pyroute2()
        from pyroute2 import IPRoute, NetlinkError
    except ImportError as error:
        raise Failure(
            f"Python package pyroute2 is missing on this machine ({error})", "missing"
        ) from error
    try:
        if hasattr(_open, "ip"):
            yield _open.ip
        else:
            with IPRoute() as ip:
                yield ip
    except NetlinkError as error:
        raise Failure(os.strerror(error.code), "netlink", error.code) from error


@contextlib.contextmanager
def _doing(what: str) -> Iterator[Any]:
    """A netlink socket for the operation ``what``, which a failure's message begins with."""
    try:
        with _netlink() as ip:
            yield ip
    except Failure as error:
        raise Failure(f"{what}: {error}", error.kind, error.number) from error


def _index(ip: Any, name: str) -> int:
    try:
        return int(next(iter(ip.link("get", ifname=name)))["index"])
    except Exception as error:
        if getattr(error, "code", None) == errno.ENODEV:
            raise Failure(f"no netdev {name!r}", "missing", errno.ENODEV) from error
        raise


def _on_undo_delete(agent: Agent, name: str) -> None:
    agent.on_undo("netdev " + name, lambda: _delete(name))


def _delete(name: str) -> None:
    with _doing(f"delete netdev {name}") as ip:
        try:
            ip.link("del", index=_index(ip, name))
        except Failure as error:
            if error.number != errno.ENODEV:  # gone already, with its namespace or its peer
                raise


def link_delete(agent: Agent, name: str) -> None:
    """Delete a netdev; one that is not there is no error."""
    if not agent.undo("netdev " + name):
        _delete(name)


def bridge_create(agent: Agent, name: str, mtu: int | None = None, mac: str | None = None) -> None:
    """A bridge that forwards at once and to everyone: no spanning tree, no IGMP snooping."""
    with _doing(f"create bridge {name}") as ip:
        options = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
        if mac:
            options["address"] = mac  # type: ignore[assignment]
        ip.link("add", ifname=name, kind="bridge", **options)
        _on_undo_delete(agent, name)
        if mtu:
            ip.link("set", index=_index(ip, name), mtu=mtu)


def tap_create(agent: Agent, name: str, queues: int = 1, vnet_hdr: bool = True) -> None:
    """A persistent tap, with the flags that QEMU will open it with.

    The kernel refuses (EINVAL) to attach to a tap made with another IFF_MULTI_QUEUE.
    """
    flags = _IFF_TAP | _IFF_NO_PI | _IFF_TUN_EXCL
    flags |= _IFF_VNET_HDR if vnet_hdr else 0
    flags |= _IFF_MULTI_QUEUE if queues > 1 else 0
    if len(name.encode()) > 15:
        raise Failure(f"create tap {name}: the name is longer than 15 octets")
    try:
        with open("/dev/net/tun", "r+b", buffering=0) as tun:
            fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
            fcntl.ioctl(tun, _TUNSETPERSIST, 1)
    except OSError as error:
        reason = "a netdev of this name exists" if error.errno == errno.EBUSY else error.strerror
        raise Failure(f"create tap {name}: {reason}", "os", error.errno or 0) from error
    _on_undo_delete(agent, name)


def veth_create(
    agent: Agent,
    name: str,
    peer: str,
    peer_pid: int | None = None,
    mac: str | None = None,
    peer_mac: str | None = None,
    mtu: int | None = None,
) -> None:
    """A veth pair; ``peer`` goes to the network namespace of ``peer_pid`` (as seen here)."""
    other: Args = {"ifname": peer}
    near: Args = {"ifname": name}
    if peer_pid is not None:
        other["net_ns_pid"] = peer_pid
    for end, address in ((near, mac), (other, peer_mac)):
        if address:
            end["address"] = address
        if mtu:
            end["mtu"] = mtu
    with _doing(f"create veth {name} with peer {peer}") as ip:
        ip.link("add", kind="veth", peer=other, **near)
        _on_undo_delete(agent, name)


def vlan_create(agent: Agent, name: str, link: str, vlan: int) -> None:
    """A VLAN netdev on ``link``, which admits that VLAN from then on; down."""
    with _doing(f"create VLAN {vlan} on {link}") as ip:
        ip.link("add", kind="vlan", ifname=name, link=_index(ip, link), vlan_id=vlan)
        _on_undo_delete(agent, name)


def link_uses(agent: Agent, name: str) -> list[str]:
    """What a netdev is in use for: addresses (but link-local ones of IPv6, which every netdev
    has), default routes, netdevs on top of it."""
    with _doing(f"uses of netdev {name}") as ip:
        index = _index(ip, name)
        uses = []
        for message in ip.get_addr(index=index):
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            if not str(address).startswith("fe80:"):
                uses.append(f"address {address}/{message['prefixlen']}")
        for message in ip.get_routes():
            if message["dst_len"] == 0 and message.get_attr("RTA_OIF") == index:
                uses.append("default route")
    # Also the bridge that it is a port of.
    for entry in sorted(os.listdir(f"/sys/class/net/{name}")):
        if entry.startswith("upper_"):
            uses.append("below netdev " + entry[len("upper_") :])
    return uses


def link_set(
    agent: Agent,
    name: str,
    up: bool | None = None,
    master: str | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    rename: str | None = None,
    pid: int | None = None,
) -> None:
    """Change a netdev, in one step. ``master`` "" takes it out of its bridge; ``pid`` moves it
    to that process's network namespace. Of a netdev that was not made here, what ``up``,
    ``master`` and ``mtu`` were before the first change comes back at the end."""
    changes: Args = {}
    with _doing(f"set netdev {name}") as ip:
        if not agent.owns("netdev " + name) and {up, master, mtu} != {None}:
            _on_undo_restore(agent, ip, name)
        if up is not None:
            changes["state"] = "up" if up else "down"
        if master is not None:
            changes["master"] = _index(ip, master) if master else 0
        if mtu is not None:
            changes["mtu"] = mtu
        if mac is not None:
            changes["address"] = mac
        if rename is not None:
            changes["ifname"] = rename
        if pid is not None:
            changes["net_ns_pid"] = pid
        ip.link("set", index=_index(ip, name), **changes)


def _on_undo_restore(agent: Agent, ip: Any, name: str) -> None:
    """Bring back how a netdev is now: that of a NIC of a real machine is its owner's."""
    index = _index(ip, name)
    found = ip.get_links(index)[0]
    former = {
        "state": "up" if found["flags"] & _IFF_UP else "down",
        "master": found.get_attr("IFLA_MASTER") or 0,
        "mtu": found.get_attr("IFLA_MTU"),
    }

    def restore() -> None:
        with _doing(f"restore netdev {name}") as ip:
            try:
                ip.link("set", index=index, **former)
            except Exception as error:
                # By now it may have gone, or moved to another namespace, and so may its bridge.
                if getattr(error, "code", None) != errno.ENODEV:
                    raise

    agent.on_undo("state of netdev " + name, restore)


def _describe(message: Any, names: dict[int, str]) -> Args:
    master = message.get_attr("IFLA_MASTER")
    info = message.get_attr("IFLA_LINKINFO")
    name = message.get_attr("IFLA_IFNAME")
    return {
        "index": message["index"],
        "name": name,
        "mac": message.get_attr("IFLA_ADDRESS") or "",
        "up": bool(message["flags"] & 1),
        "carrier": bool(message.get_attr("IFLA_CARRIER")),
        "operstate": str(message.get_attr("IFLA_OPERSTATE") or "unknown").lower(),
        "mtu": message.get_attr("IFLA_MTU") or 0,
        "master": names.get(master, str(master)) if master else None,
        "kind": (info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        "pci": _pci_of(name),
    }


def _pci_of(name: str) -> str | None:
    """The PCI address of a netdev, or None. virtio-net sits one level below its PCI device."""
    path = os.path.realpath(f"/sys/class/net/{name}/device")
    for part in (os.path.basename(path), os.path.basename(os.path.dirname(path))):
        if os.path.exists("/sys/bus/pci/devices/" + part):
            return part
    return None


def links(agent: Agent) -> list[Args]:
    """All netdevs."""
    with _doing("list netdevs") as ip:
        messages = list(ip.get_links())
    names = {m["index"]: m.get_attr("IFLA_IFNAME") for m in messages}
    return [_describe(message, names) for message in messages]


def address_add(agent: Agent, name: str, address: str) -> None:
    """``address`` is with prefix length. An IPv6 address is usable at once (no DAD)."""
    host, _, length = address.partition("/")
    with _doing(f"add address {address} to {name}") as ip:
        extra = {"flags": 0x02} if ":" in host else {}  # IFA_F_NODAD
        ip.addr("add", index=_index(ip, name), address=host, prefixlen=int(length), **extra)


def neighbour_add(agent: Agent, name: str, address: str, mac: str) -> None:
    """A permanent neighbour entry; one that is there is replaced."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _doing(f"add neighbour {address} to {name}") as ip:
        ip.neigh(
            "replace", ifindex=_index(ip, name), dst=address, lladdr=mac,
            family=family, state=_NUD_PERMANENT,
        )  # fmt: skip


def route_add(agent: Agent, destination: str, via: str, name: str | None = None) -> None:
    with _doing(f"add route to {destination} via {via}") as ip:
        where = {"oif": _index(ip, name)} if name else {}
        ip.route("add", dst=destination, gateway=via, **where)


def vf_set_mac(agent: Agent, pf: str, vf: int, mac: str) -> None:
    """Set (all zero: clear) the MAC filter of a virtual function; undone to what it was."""
    with _doing(f"set MAC {mac} of VF {vf} of {pf}") as ip:
        index = _index(ip, pf)
        key = f"VF MAC {pf}/{vf}"
        former = _vf_macs(ip, index).get(vf, _NO_MAC)
        ip.link("set", index=index, vf={"vf": vf, "mac": mac})
    agent.on_undo(key, lambda: _set_vf_mac(pf, vf, former))


def _set_vf_mac(pf: str, vf: int, mac: str) -> None:
    with _doing(f"set MAC {mac} of VF {vf} of {pf}") as ip:
        index = _index(ip, pf)
        if vf in _vf_macs(ip, index):  # otherwise the VFs have been disabled since
            ip.link("set", index=index, vf={"vf": vf, "mac": mac})


def vf_set_vlan(agent: Agent, pf: str, vf: int, vlan: int) -> None:
    """Set (0: clear) the port VLAN of a virtual function; undone to what it was."""
    key = f"VF VLAN {pf}/{vf}"
    former = 0 if agent.owns(key) else _vf_vlan(pf, vf)
    _set_vf_vlan(pf, vf, vlan)
    agent.on_undo(key, lambda: _set_vf_vlan(pf, vf, former))


def _vf_vlan(pf: str, vf: int) -> int:
    with _doing(f"port VLAN of VF {vf} of {pf}") as ip:
        for info in _vf_infos(ip, _index(ip, pf)):
            told = info.get_attr("IFLA_VF_VLAN")
            if told and told["vf"] == vf:
                return int(told["vlan"])
    return 0


def _set_vf_vlan(pf: str, vf: int, vlan: int) -> None:
    with _doing(f"set VLAN {vlan} of VF {vf} of {pf}") as ip:
        index = _index(ip, pf)
        if vf in _vf_macs(ip, index):  # otherwise the VFs have been disabled since
            ip.link("set", index=index, vf={"vf": vf, "vlan": vlan})


def _vf_infos(ip: Any, index: int) -> Iterator[Any]:
    """What the kernel says of each virtual function (IFLA_VF_INFO)."""
    for message in ip.link("get", index=index, ext_mask=_RTEXT_FILTER_VF):
        for info in (message.get_attr("IFLA_VFINFO_LIST") or {"attrs": []})["attrs"]:
            yield info[1]


def _vf_macs(ip: Any, index: int) -> dict[int, str]:
    found = {}
    for info in _vf_infos(ip, index):
        mac = info.get_attr("IFLA_VF_MAC")
        if mac:
            # The attribute is 32 octets for InfiniBand; Ethernet uses the first six.
            found[int(mac["vf"])] = ":".join(mac["mac"].split(":")[:6])
    return found


def vf_macs(agent: Agent, pf: str) -> dict[str, str]:
    """MAC filter of each virtual function, by its number (as text: a JSON key)."""
    with _doing(f"VFs of {pf}") as ip:
        return {str(vf): mac for vf, mac in _vf_macs(ip, _index(ip, pf)).items()}


def _fdb_flags(where: str) -> Args:
    if where == "master":  # an entry of the bridge that the netdev is a port of
        return {"flags": _NTF_MASTER, "state": _NUD_NOARP}
    return {"flags": _NTF_SELF, "state": _NUD_PERMANENT}  # the netdev's own filter


def fdb_add(agent: Agent, name: str, mac: str, where: str = "master") -> None:
    """A static forwarding entry; one that the bridge learnt on another port moves here.
    One that is there already is no error."""
    with _doing(f"add fdb entry {mac} to {name}") as ip:
        index = _index(ip, name)
        try:
            if where == "master":
                ip.fdb("replace", ifindex=index, lladdr=mac, **_fdb_flags(where))
            else:
                ip.fdb("add", ifindex=index, lladdr=mac, **_fdb_flags(where))
        except Exception as error:
            if getattr(error, "code", None) != errno.EEXIST:
                raise
            return
    agent.on_undo(f"fdb {name}/{where} {mac}", lambda: _fdb_del(name, mac, where))


def fdb_del(agent: Agent, name: str, mac: str, where: str = "master") -> None:
    """Remove a forwarding entry; one that is not there is no error."""
    if not agent.undo(f"fdb {name}/{where} {mac}"):
        _fdb_del(name, mac, where)


def _fdb_del(name: str, mac: str, where: str) -> None:
    with _doing(f"delete fdb entry {mac} of {name}") as ip:
        try:
            ip.fdb("del", ifindex=_index(ip, name), lladdr=mac, **_fdb_flags(where))
        except Failure:
            return  # the netdev has gone, and its entries with it
        except Exception as error:
            if getattr(error, "code", None) != errno.ENOENT:
                raise


def fdb(agent: Agent, mac: str | None = None) -> list[Args]:
    """Forwarding entries of all bridges and filters of all netdevs, or those of one MAC."""
    with _doing("list fdb entries") as ip:
        names = {m["index"]: m.get_attr("IFLA_IFNAME") for m in ip.get_links()}
        entries = list(ip.fdb("dump"))
    found = []
    for entry in entries:
        address = entry.get_attr("NDA_LLADDR")
        if mac is None or address == mac:
            master = entry.get_attr("NDA_MASTER")
            found.append(
                {
                    "name": names.get(entry["ifindex"], str(entry["ifindex"])),
                    "mac": address or "",
                    "master": names.get(master, str(master)) if master else None,
                    "static": bool(entry["state"] & (_NUD_NOARP | _NUD_PERMANENT)),
                    "vlan": entry.get_attr("NDA_VLAN"),
                }
            )
    return found


def netem_set(
    agent: Agent,
    name: str,
    delay_s: float | None = None,
    jitter_s: float | None = None,
    loss: float | None = None,
    duplicate: float | None = None,
    reorder: float | None = None,
    rate_bit: int | None = None,
    limit: int = 100_000,
) -> None:
    """Impair what leaves by a netdev. Shares are from 0 to 1. ``limit`` is the queue in
    packets: netem's own default of 1,000 would drop at 10,000 packets/s and 100 ms."""
    given: Args = {"limit": limit}
    for key, value, factor in (
        ("delay", delay_s, 1e6), ("jitter", jitter_s, 1e6), ("loss", loss, 100),
        ("duplicate", duplicate, 100), ("prob_reorder", reorder, 100),
    ):  # fmt: skip
        if value is not None:
            given[key] = value * factor
    for key in ("delay", "jitter"):
        if key in given:
            given[key] = round(given[key])
    if rate_bit is not None:
        given["rate"] = min(rate_bit // 8, 0xFFFFFFFF)  # octets a second, 32 bits
    with _doing(f"netem on {name}") as ip:
        refused = _replace_netem(_index(ip, name), given)
        if refused == errno.ENOENT:
            raise Failure("this kernel has no netem (sch_netem)", "missing", refused)
        if refused:
            raise Failure(os.strerror(refused), "netlink", refused)
    agent.on_undo("netem " + name, lambda: _netem_clear(name))


def _replace_netem(index: int, given: Args) -> int:
    """What ``ip.tc("replace", "netem", ...)`` should send; returns an errno, 0 when it worked.

    Sent on a socket of its own: pyroute2 0.9.7 takes netem's ``rate`` for the attribute
    TCA_RATE as well, which the kernel refuses, and its nlm_request() fails.
    """
    from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST
    from pyroute2.netlink.rtnl import RTM_NEWQDISC, TC_H_ROOT
    from pyroute2.netlink.rtnl.tcmsg import sched_netem, tcmsg

    message = tcmsg()
    message["index"], message["handle"], message["parent"] = index, 0x10000, TC_H_ROOT
    options = sched_netem.get_parameters(given)
    message["attrs"] = [["TCA_KIND", "netem"], ["TCA_OPTIONS", options]]
    message["header"]["type"] = RTM_NEWQDISC
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE
    message.encode()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.settimeout(10)
        netlink.send(message.data)
        # One nlmsgerr: a 16-octet header, then the negative errno.
        return -int(struct.unpack_from("=i", netlink.recv(1 << 16), 16)[0])


def netem_clear(agent: Agent, name: str) -> None:
    """Remove the impairment; none is no error."""
    if not agent.undo("netem " + name):
        _netem_clear(name)


def _netem_clear(name: str) -> None:
    with _doing(f"remove netem from {name}") as ip:
        try:
            ip.tc("del", index=_index(ip, name), root=True)
        except Failure:
            return  # the netdev has gone, and its queue with it
        except Exception as error:
            if getattr(error, "code", None) not in (errno.ENOENT, errno.EINVAL):
                raise


def qdiscs(agent: Agent, name: str) -> list[str]:
    """Kinds of the queueing disciplines on a netdev."""
    with _doing(f"queues of {name}") as ip:
        index = _index(ip, name)
        return [q.get_attr("TCA_KIND") for q in ip.get_qdiscs() if q["index"] == index]


OPS = {
    action.__name__: action
    for action in (
        link_delete, bridge_create, tap_create, veth_create, vlan_create, link_set, link_uses,
        links, address_add, neighbour_add, route_add, vf_set_mac, vf_set_vlan, vf_macs, fdb_add,
        fdb_del, fdb, netem_set, netem_clear, qdiscs,
    )
}  # fmt: skip
