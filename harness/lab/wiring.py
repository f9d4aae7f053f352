"""The networks of a lab: bridges in its own namespace, and the links of machines to them.

Neighbours: ``lab`` calls this as it makes machines; what is behind a host's NICs is wired on
the host itself (``host``).
"""

from __future__ import annotations

from collections.abc import Iterable

from harness.plan.model import LinkPlan, NetworkPlan, Plan
from harness.reach.local import NamespaceMachine


class Wiring:
    """``local`` is the lab's own namespace, where the bridges are."""

    def __init__(self, plan: Plan, local: NamespaceMachine) -> None:
        self._networks = {network.name: network for network in plan.networks}
        self._local = local

    def network(self, name: str) -> None:
        """Make a network's bridge."""
        network = self._networks[name]
        links = self._local.links
        links.create_bridge(network.bridge, mtu=network.mtu)
        links.set(network.bridge, up=True)
        if network.address:
            links.add_address(network.bridge, network.address)

    def plug(self, wanted: Iterable[LinkPlan], machine: NamespaceMachine) -> None:
        """Veth pairs between a namespace and the bridges of its networks."""
        for link in wanted:
            network, inside = self._networks[link.network], link.ifname or link.nic
            self._local.links.create_veth(
                link.port,
                inside,
                peer_pid=machine.space.pid_inside,
                peer_mac=link.mac,
                mtu=link.mtu,
            )
            self._local.links.set(link.port, master=network.bridge, up=True)
            self._impair(network, link.port)
            for address in link.addresses:
                machine.links.add_address(inside, address)
            machine.links.set(inside, up=True)

    def taps(self, wanted: Iterable[LinkPlan]) -> None:
        """Taps for the NICs of a host VM, in the bridges of their networks."""
        for link in wanted:
            network = self._networks[link.network]
            self._local.links.create_tap(link.port)
            self._local.links.set(link.port, master=network.bridge, up=True, mtu=link.mtu)
            self._impair(network, link.port)

    def _impair(self, network: NetworkPlan, port: str) -> None:
        wanted = network.impair
        if wanted is not None:
            self._local.links.set_netem(
                port,
                delay_s=wanted.delay,
                jitter_s=wanted.jitter,
                loss=wanted.loss,
                duplicate=wanted.duplicate,
                reorder=wanted.reorder,
                rate_bit=wanted.rate,
            )
