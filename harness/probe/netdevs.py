"""All netdevs of a machine in one round trip, through testinfra.

iproute2's JSON has everything but the driver. That comes from ethtool where the machine has
it, else from sysfs, where a net_failover master must be told from its standby: both hang on
the same virtio device (drivers/net/net_failover.c sets the standby's parent as its own). Of
netdevs with a device only a failover master has lower netdevs.

Neighbours: ``backend`` runs it; labprobe (``images/guest/labprobe.c``) is the other witness.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from harness.errors import CommandFailed, ReachError
from harness.observe import LinkState, Snapshot
from harness.observe.record import now_ns
from harness.probe.backend import Runs, host_of

# By its path, and one that knows JSON: a busybox shell would take its own `ip`.
_SCRIPT = """
tool=ip
IFS=:
for directory in $PATH; do
    "$directory/ip" -json link show dev lo >/dev/null 2>&1 && tool=$directory/ip && break
done
unset IFS
"$tool" -json address show || exit
echo
command -v ethtool >/dev/null && ethtool=ethtool
for netdev in /sys/class/net/*; do
    name=${netdev##*/}
    driver=
    [ "$ethtool" ] && driver=$(ethtool -i "$name" 2>/dev/null | sed -n 's/^driver: //p')
    if [ -z "$driver" ] && [ -e "$netdev/device/driver" ]; then
        driver=$(readlink "$netdev/device/driver")
        driver=${driver##*/}
        for lower in "$netdev"/lower_*; do
            [ -e "$lower" ] && driver=net_failover
        done
    fi
    echo "driver $name $driver"
done
"""


def read_netdevs(machine: Runs, *, timeout: float = 20.0) -> tuple[LinkState, ...]:
    """Every netdev, by index. CommandFailed when the machine cannot say, ReachError when it
    says something else."""
    host = host_of(machine, timeout=timeout)
    done = host.run(_SCRIPT)
    if done.rc != 0:
        raise CommandFailed(
            f"{machine.name}: the netdevs cannot be read: `ip -json address show` ended with "
            f"status {done.rc}",
            evidence=done.stderr.splitlines()[-5:],
        )
    answer, _, rest = done.stdout.partition("\ndriver ")
    drivers = dict(line.removeprefix("driver ").partition(" ")[::2] for line in rest.splitlines())
    try:
        rows = [row for row in json.loads(answer) if row]
        links = [_link(row, drivers) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise ReachError(
            f"{machine.name}: the netdevs cannot be read: {type(error).__name__} {error} in the "
            "answer of `ip -json address show`",
            evidence=answer.splitlines()[:5],
        ) from error
    return tuple(sorted(links, key=lambda link: link.index))


def snapshot(machine: Runs, guest: str, moment: str, *, timeout: float = 20.0) -> Snapshot:
    """The netdevs of a guest as a fact: true at some time between the question and its answer."""
    begin = now_ns()
    links = read_netdevs(machine, timeout=timeout)
    end = now_ns()
    return Snapshot(
        t_ns=(begin + end) // 2, err_ns=(end - begin + 1) // 2, guest=guest, moment=moment,
        links=links,
    )  # fmt: skip


def _link(row: Mapping[str, Any], drivers: Mapping[str, str]) -> LinkState:
    flags = row["flags"]
    return LinkState(
        index=row["ifindex"],
        name=row["ifname"],
        mac=row.get("address", ""),
        master=row.get("master"),
        operstate=row["operstate"].lower(),
        # as sysfs has it: a netdev that is down says nothing of its carrier
        carrier="LOWER_UP" in flags if "UP" in flags else None,
        driver=drivers.get(row["ifname"]) or None,
        mtu=row["mtu"],
        addresses=tuple(f"{one['local']}/{one['prefixlen']}" for one in row.get("addr_info", ())),
    )
