"""A lab that stays up and is used from other processes: ``harness up``, ``exec``, ``down``.

The requests come through ``harness.lab.control``; each is a verb on the lab. One request
that changes the lab at a time; commands and consoles run side by side.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import InputError
from harness.lab import Lab, LabState
from harness.lab.control import Answer, ControlServer, Say
from harness.observe.record import now_ns
from harness.scenario.verbs import Verbs

_EXEC_S = 3600.0


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One line of ``harness status``."""

    name: str
    kind: str
    state: str


def machines_of(lab: Lab) -> list[MachineStatus]:
    """The machines of a lab, with what is known of each."""
    found = [MachineStatus(name, "namespace", "up") for name in lab.namespaces]
    for name, host in lab.hosts.items():
        accelerator = f"guests use {host.accelerator}" if host.accelerator else "up"
        found.append(MachineStatus(name, f"host ({host.plan.kind})", accelerator))
    for name, guest in lab.guests.items():
        instances = guest.instances
        where = ", ".join(f"{one.vm.state} on {one.host.name}" for one in instances)
        found.append(MachineStatus(name, "guest", where or "not started"))
    return found


class LabService:
    """Answers requests about one lab until it is told to take it down."""

    def __init__(self, lab: Lab, *, run_dir: str, title: str) -> None:
        self.lab = lab
        self.verbs = Verbs(lab)
        self.over = threading.Event()
        self._run_dir, self._title = run_dir, title
        self._began_ns = now_ns()
        self._changing = threading.Lock()
        self._server = ControlServer(lab.name, self._handle)

    def close(self) -> None:
        """Stop answering. The lab is the caller's to take down."""
        self._server.close()

    def _handle(self, verb: str, args: Mapping[str, object], say: Say) -> Answer | socket.socket:
        match verb:
            case "status":
                return {
                    "title": self._title,
                    "state": str(self.lab.state),
                    "run_dir": self._run_dir,
                    "up_s": round((now_ns() - self._began_ns) / 1e9, 1),
                    "machines": [[m.name, m.kind, m.state] for m in machines_of(self.lab)],
                }
            case "exec":
                self._must_be_up(verb)
                argv = args.get("argv")
                if not isinstance(argv, list) or not argv:
                    raise InputError("exec: give a command after `--`")
                machine = self.lab.machine(str(args["machine"]))
                done = machine.run([str(word) for word in argv], timeout=_EXEC_S, check=False)
                return {"status": done.status, "stdout": done.stdout, "stderr": done.stderr}
            case "migrate":
                self._must_be_up(verb)
                with self._changing:
                    say(f"migrating {args['guest']} to {args['to']} ...")
                    info = self.verbs.migrate(str(args["guest"]), str(args["to"]))
                return {
                    "status": info.status,
                    "downtime_ms": info.downtime_ms,
                    "total_time_ms": info.total_time_ms,
                }
            case "console":
                self._must_be_up(verb)
                return self._console(str(args["machine"]))
            case "down":
                say(f"taking {self.lab.name} down ...")
                self.lab.cancel()
                self.over.set()
                return {}
        raise InputError(f"{verb}: a lab knows status, exec, migrate, console and down")

    def _must_be_up(self, verb: str) -> None:
        if self.lab.state is not LabState.UP:
            raise InputError(
                f"{verb}: lab {self.lab.name} is {self.lab.state}; wait until it is up"
            )

    def _console(self, name: str) -> socket.socket:
        if name in self.lab.guests:
            instance = self.lab.guests[name].current
            return instance.host.machine.connect(instance.socket_path("console"))
        if name in self.lab.host_vms:
            path = self.lab.host_vms[name].log.replace("qemu.log", "console.sock")
            return self.lab.local.connect(path)
        there = ", ".join([*self.lab.guests, *self.lab.host_vms])
        raise InputError(f"{name}: has no console", hint=f"these have one: {there}")
