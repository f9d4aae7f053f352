"""A lab on a machine that is reached by ssh: nothing is there but an ssh server and a key."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.lab.imagecopy import IMAGE_CACHE
from harness.observe import Accelerator, HostEvent
from harness.reach.deadline import Deadline
from harness.scenario import settle
from tests.end_to_end_ssh.standin import Found, StandIn, lab_of

pytestmark = pytest.mark.nested

SUDO = """\
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv) {
    if (argc < 3 || setgid(0) || setuid(0)) return 1;
    execvp(argv[2], argv + 2); /* argv[1] is -n */
    perror("sudo");
    return 1;
}
"""


def test_a_guest_has_its_pair_on_a_real_machine_which_is_left_as_it_was_found(
    standin: StandIn, found: Found, tmp_path: Path
) -> None:
    with lab_of(standin.topology(tmp_path), tmp_path) as lab:
        lab.up()
        settle(lab)

        by_driver = {link.driver: link for link in lab.guests["g1"].links.now()}
        assert {"net_failover", "virtio_net", "igbvf"} <= by_driver.keys()
        master = by_driver["net_failover"].name
        assert by_driver["igbvf"].master == by_driver["virtio_net"].master == master
        assert "52:54:00:6f:55:cc" in lab.machine("g1").run(["ip", "link", "show", master]).stdout
        metal = lab.machine("metal")
        assert metal.run(["hostname"]).stdout == "machine\n"
        assert standin.found().vfs == "2"
        assert standin.found().netdevs[standin.pf][2] == "br0"

        facts = list(lab.facts.facts)
        tried = [one for one in facts if isinstance(one, Accelerator) and one.machine == "metal"]
        assert len(tried) == 1
        assert "a tiny 64-bit guest ran to its end" in tried[0].evidence
        events = [one.event for one in facts if isinstance(one, HostEvent)]
        assert events.index("vf-bound") < events.index("qemu-started")
        assert "vf-filter-opened" in events

        images = standin.eye.list_directory(IMAGE_CACHE)
        assert sorted(name.rpartition("-")[0] for name in images) == [
            "guest-guest-kernel", "kernel-kernel", "qemu-qemu",
        ]  # fmt: skip
        lab.down()
        facts = list(lab.facts.facts)
        # The connection's own process on the machine ends a moment after it.
        standin.await_found(found, Deadline(3))
    # What is known of it all the same: the logs, fetched before anything was undone.
    logs = {path.name for path in (tmp_path / "logs").iterdir()}
    assert {"g1.1@metal.console.log", "g1.1@metal.qemu.log"} <= logs
    assert "lost.txt" not in logs
    assert not [one for one in facts if isinstance(one, HostEvent) and "failed" in one.event]


def test_images_that_are_there_are_not_copied_again_but_damaged_ones_are(
    standin: StandIn, found: Found, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    topology = standin.topology(tmp_path)
    with lab_of(topology, tmp_path, last="reach metal") as lab:
        lab.up()  # copies what no test before has
    (guest,) = (n for n in standin.eye.list_directory(IMAGE_CACHE) if n.startswith("guest-"))
    standin.eye.write_file(f"{IMAGE_CACHE}/{guest}/initramfs", b"cut off")

    capfd.readouterr()
    with lab_of(topology, tmp_path, last="reach metal") as lab:
        lab.up()
        copied = [line for line in capfd.readouterr().err.splitlines() if "copying" in line]
        assert len(copied) == 1
        assert "copying guest:guest:kernel to metal" in copied[0]
    status = standin.eye.status(f"{IMAGE_CACHE}/{guest}/initramfs")
    assert status is not None
    assert status.size > 1 << 20
    standin.await_found(found, Deadline(3))


def test_the_machine_undoes_all_by_itself_when_the_harness_is_killed(
    standin: StandIn, found: Found, tmp_path: Path
) -> None:
    argv = [sys.executable, "-m", "harness.cli", "up", str(standin.topology(tmp_path))]
    argv += ["--foreground", "--name", "killed", "--run-dir", str(tmp_path / "run")]
    harness = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert harness.stderr is not None
        said = []
        for line in harness.stderr:
            said.append(line)
            if "start g1: done" in line:
                break
        assert standin.found().vfs == "2", "".join(said)
        assert any("qemu-system" in one for one in standin.found().processes)
    finally:
        os.kill(harness.pid, signal.SIGKILL)
        harness.communicate()

    standin.await_found(found, Deadline(20))


def test_a_user_who_may_use_sudo_is_enough(standin: StandIn, found: Found, tmp_path: Path) -> None:
    (tmp_path / "sudo.c").write_text(SUDO)
    program = tmp_path / "sudo"
    subprocess.run(
        ["gcc", "-static", "-O1", "-o", program, program.with_suffix(".c")], check=True, timeout=60
    )
    eye = standin.eye
    eye.put(program, "/usr/bin/sudo")
    eye.run(["chmod", "4755", "/usr/bin/sudo"])
    eye.write_file("/etc/passwd", b"tester:x:1000:1000::/tmp:/bin/sh\n", append=True)
    eye.write_file("/etc/shadow", b"tester:*:::::::\n", append=True)
    assert eye.run(["id", "-u", "tester"]).stdout == "1000\n"

    with lab_of(standin.topology(tmp_path, user="tester"), tmp_path, last="wire metal") as lab:
        lab.up()
        metal = lab.hosts["metal"].machine
        assert metal.run(["id", "-u"]).stdout == "0\n"
        copy = f"{metal.scratch}/copy"  # a directory that only root can enter
        metal.put(program, copy)
        metal.get(copy, tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == program.read_bytes()
        assert standin.found().vfs == "2"
        lab.down()
        standin.await_found(found, Deadline(3))
    eye.remove("/usr/bin/sudo")
