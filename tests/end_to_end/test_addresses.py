"""An address on a slave is seen on a real guest, and only where there is one."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.places import ROOT, Place
from tests.end_to_end.runs import RUN_S

pytestmark = pytest.mark.lab

SHIPPED = ROOT / "testcases" / "no-addresses-on-slaves.yaml"

# The guest must leave the kernel's own defaults alone, which are what the case is about.
_DEFAULTS = (
    "for slave in /sys/class/net/*/master; do slave=${slave%/master}; "
    "cd /proc/sys/net/ipv6/conf/${slave##*/} || exit 2; "
    "read -r disabled < disable_ipv6; read -r mode < addr_gen_mode; "
    '[ "$disabled $mode" = "0 0" ] || exit 3; done'
)
_GIVE = "ip address add fe80::bad/64 dev eth1"


def test_an_address_that_a_slave_is_given_fails_from_then_on(here: Place) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace("../topologies", str(ROOT / "topologies"))
    exec_steps = "".join(
        # `${` is a parameter of the case; the shell's is written `$${`
        f"  - exec: {{machine: g1, command: {json.dumps(command.replace('${', '$${'))}}}\n"
        for command in (_DEFAULTS, _GIVE)
    )
    case = here.folder / "case.yaml"
    case.write_text(text.replace("steps:\n", "steps:\n" + exec_steps), encoding="utf-8")

    done = here.harness("run", case, "--json", here.folder / "out.json", timeout=RUN_S)

    assert done.returncode == 1, done.stdout + done.stderr
    result = json.loads((here.folder / "out.json").read_text(encoding="utf-8"))
    wrong = {one["path"]: one["reason"] for one in result["findings"] if one["outcome"] != "passed"}
    prefix = "expect.netdevs.{}.g1.net1.addresses.standby"
    assert list(wrong) == [prefix.format("precopy"), prefix.format("end")]
    for reason in wrong.values():
        assert re.search(r"eth1 \(virtio_net, .*\) carries fe80::bad/64", reason)
