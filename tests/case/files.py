"""Case and topology files for the tests of cases, verdicts and reports."""

from __future__ import annotations

import pathlib
import textwrap

TOPOLOGY = """\
networks:
  data: {}
  mgmt: {subnet: 10.78.0.0/24, management: true}
namespaces:
  client: {nics: {eth0: {network: data, address: 10.77.0.1/24}}}
  silent: {nics: {eth0: {network: data}}}
hosts:
  alpha:
    kind: netns
    nics:
      pf: {model: veth, network: data}
      mg: {model: veth, network: mgmt}
    bridges: {br0: [pf]}
  beta: {like: alpha}
guests:
  g1:
    host: alpha
    nics:
      net1: {model: virtio-net-pci, bridge: br0, mac: "52:54:00:6f:55:cc", failover: on,
             address: 10.77.0.2/24}
      hostdev0: {model: e1000e, bridge: br0, failover_pair_id: net1}
"""

HEAD = """\
case: a guest keeps its traffic
topology: lab.yaml
"""

TRAFFIC = """\
traffic:
  inbound: {from: client, to: g1, udp: {rate: 1000/s, size: 128}}
  echo: {from: client, to: g1, icmp-echo: {rate: 100/s, size: 64}}
"""

STEPS = """\
steps:
  - migrate: {guest: g1, to: beta}
  - wait: {for: {guest: g1, primary: net1, state: up}, within: 60s}
"""


def write(folder: pathlib.Path, text: str, *, topology: str = TOPOLOGY) -> pathlib.Path:
    """A case file ``case.yaml`` beside its topology ``lab.yaml``."""
    (folder / "lab.yaml").write_text(topology, encoding="utf-8")
    path = folder / "case.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path
