"""Other kernels and QEMUs: what a patch or a version breaks is caught, and told by its reason.

The patches are the tests' own: a line each. They are built by recipe, from Debian's sources.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from harness.images import Store
from tests.cli.places import Place
from tests.end_to_end.runs import CASE, FLAT, NESTED, ROOT, RUN_S

# net_failover transmits on the standby although the primary is up.
ALWAYS_ON_THE_STANDBY = """\
--- a/drivers/net/net_failover.c
+++ b/drivers/net/net_failover.c
@@ -101,7 +101,7 @@
 \tstruct net_device *xmit_dev;

 \t/* Try xmit via primary netdev followed by standby netdev */
-\txmit_dev = rcu_dereference_bh(nfo_info->primary_dev);
+\txmit_dev = NULL;
 \tif (!xmit_dev || !net_failover_xmit_ready(xmit_dev)) {
 \t\txmit_dev = rcu_dereference_bh(nfo_info->standby_dev);
 \t\tif (!xmit_dev || !net_failover_xmit_ready(xmit_dev))
"""
# A destination never plugs the primary.
NOT_PLUGGED_AGAIN = """\
--- a/hw/net/virtio-net.c
+++ b/hw/net/virtio-net.c
@@ -12,6 +12,7 @@
  */

 #include "qemu/osdep.h"
+#include "system/runstate.h"
 #include "qemu/atomic.h"
 #include "qemu/iov.h"
 #include "qemu/log.h"
@@ -923,7 +924,7 @@
     Error *err = NULL;
     DeviceState *dev = failover_find_primary_device(n);

-    if (dev) {
+    if (dev || runstate_check(RUN_STATE_INMIGRATE)) {
         return;
     }

"""
SENDS = """\
case: a guest sends through its primary, and through its standby while that is away
topology: {topology}
traffic:
  outbound: {{from: g1, to: client, udp: {{rate: 50/s, size: 128}}, rate_tolerance: 30%}}
steps:
  - migrate: {{guest: g1, to: beta, within: 60s}}
  - wait: {{for: {{guest: g1, primary: net1, state: up}}, within: 60s}}
expect:
  migration: completed
  streams:
    outbound: {{path: {{before: primary, precopy: standby, after: primary}}}}
"""
# The guest is without its primary on beta, whose QEMU does not plug it, and has one again at home.
THERE_AND_BACK = """\
case: a guest migrates to a patched QEMU and back
topology: {topology}
steps:
  - migrate: {{guest: g1, to: beta, within: 60s}}
  - wait: {{for: {{guest: g1, primary: net1, state: absent}}, within: 5s}}
  - migrate: {{guest: g1, to: alpha, within: 60s}}
  - wait: {{for: {{guest: g1, primary: net1, state: up}}, within: 60s}}
expect:
  migration: completed
"""


def recipe(folder: Path, text: str, patch: str) -> Path:
    patches = folder / "patches"
    patches.mkdir()
    (patches / "defect.patch").write_text(patch, encoding="utf-8")
    path = folder / "patched.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def failures(out: Path) -> list[str]:
    result = json.loads(out.read_text(encoding="utf-8"))
    return [one["expectation"] for one in result["findings"] if one["outcome"] == "failed"]


@pytest.mark.lab
def test_a_module_that_sends_on_the_wrong_netdev_is_caught(here: Place) -> None:
    patched = recipe(
        here.folder,
        "kind: kernel\nbase: kernel\nmodules: {net_failover: {patches: patches}}\n",
        ALWAYS_ON_THE_STANDBY,
    )
    # Here, where there is a network; the lab runs where there is none.
    store = Store()
    store.guest("guest", store.kernel(str(patched)))
    case = here.folder / "sends.yaml"
    case.write_text(SENDS.format(topology=FLAT), encoding="utf-8")
    out = here.folder / "out.json"

    stock = here.harness("run", case, "--quiet", timeout=RUN_S)
    done = here.harness(
        *("run", case, "--guest-kernel", patched, "--json", out, "--quiet"), timeout=RUN_S
    )

    assert stock.returncode == 0, stock.stdout + stock.stderr
    assert done.returncode == 1, done.stdout + done.stderr
    # The answers to the guest's ARP requests come to the standby, too, which drops them.
    assert failures(out) == ["the traffic flows before step 1"]
    assert "net_failover replaced" in done.stdout


@pytest.mark.lab
def test_6_1_puts_addresses_on_the_slaves_and_6_12_does_not(here: Place) -> None:
    store = Store()
    store.guest("guest", store.kernel("kernel-6.1"))
    case, out = ROOT / "testcases" / "no-addresses-on-slaves.yaml", here.folder / "out.json"

    newer = here.harness("run", case, "--guest-kernel", "kernel-6.12", "--quiet", timeout=RUN_S)
    older = here.harness(
        *("run", case, "--guest-kernel", "kernel-6.1", "--json", out, "--quiet"), timeout=RUN_S
    )

    assert newer.returncode == 0, newer.stdout + newer.stderr
    assert older.returncode == 1, older.stdout + older.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    failed = [one for one in result["findings"] if one["outcome"] == "failed"]
    assert {one["path"].rsplit(".", 1)[0] for one in failed} == {
        f"expect.netdevs.{moment}.g1.net1.addresses" for moment in ("start", "precopy", "end")
    }
    assert all("carries fe80::" in one["reason"] for one in failed)


@pytest.mark.nested
def test_a_qemu_of_a_plain_prefix_runs_here_and_inside_a_nested_host(here: Place) -> None:
    prefix = here.folder / "prefix"
    shutil.copytree(Store().toolchain("qemu").root, prefix, symlinks=True)
    for topology, variant in ((FLAT, "flat"), (NESTED, "nested")):
        case, out = here.folder / f"{variant}.yaml", here.folder / f"{variant}.json"
        case.write_text(SENDS.format(topology=topology), encoding="utf-8")
        done = here.harness(
            "run", case, "--qemu", f"path:{prefix}", "--json", out, "--quiet", timeout=RUN_S
        )
        assert done.returncode == 0, done.stdout + done.stderr
        versions = json.loads(out.read_text(encoding="utf-8"))["versions"]
        assert {one["image"] for one in versions["qemu"]} == {f"qemu:path:{prefix}"}


@pytest.mark.slow
@pytest.mark.lab
def test_a_qemu_that_does_not_plug_the_primary_again_is_caught(here: Place) -> None:
    patched = recipe(
        here.folder, "kind: toolchain\nsuite: trixie\npatches: patches\n", NOT_PLUGGED_AGAIN
    )
    Store().toolchain(str(patched))
    out = here.folder / "out.json"

    done = here.harness(
        *("run", CASE, "--variant", "flat", "--qemu", patched, "--json", out, "--quiet"),
        timeout=RUN_S,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert {
        "step 2 wait works", "at the end the primary of g1 net1 is e1000e"
    } <= set(failures(out))  # fmt: skip
    assert "g1: primary of net1 up: not within 60 s; last seen: absent" in done.stdout


@pytest.mark.slow
@pytest.mark.lab
def test_a_guest_migrates_from_a_stock_qemu_to_a_patched_one_and_back(here: Place) -> None:
    patched = recipe(
        here.folder, "kind: toolchain\nsuite: trixie\npatches: patches\n", NOT_PLUGGED_AGAIN
    )
    Store().toolchain(str(patched))
    case, out = here.folder / "back.yaml", here.folder / "out.json"
    case.write_text(THERE_AND_BACK.format(topology=FLAT), encoding="utf-8")

    done = here.harness(
        *("run", case, "--qemu", "alpha=qemu-10.0", "--qemu", f"beta={patched}"),
        *("--machine", "pc-q35-10.0", "--json", out, "--quiet"),
        timeout=RUN_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    versions = json.loads(out.read_text(encoding="utf-8"))["versions"]
    assert {one["image"] for one in versions["qemu"]} == {"qemu:qemu-10.0", f"qemu:{patched}"}
    assert {one["machine"] for one in versions["qemu"]} == {"pc-q35-10.0"}
