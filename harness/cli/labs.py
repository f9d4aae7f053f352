"""Labs that stay up: ``up``, ``status``, ``exec``, ``console``, ``migrate``, ``down``.

Neighbours: ``harness.scenario.service`` answers in the process that holds the lab,
``harness.lab.control`` carries the requests there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import tty
from contextlib import ExitStack

from harness.cli.cases import new_run
from harness.errors import EXIT_LAB, EXIT_PASSED, InputError, Interrupted, LabError
from harness.images import Store
from harness.lab import Lab, Progress, critical_path
from harness.lab.control import ControlClient, check_name, lab_name, running_labs
from harness.lab.images import LabImages
from harness.observe import FactLog
from harness.plan import make_plan
from harness.plan.render import as_json
from harness.reach.deadline import Deadline
from harness.record import RunDir
from harness.scenario import settle
from harness.scenario.service import LabService
from harness.topology import load

_DOWN_S = 60.0


def _say(text: str) -> None:
    print(text, file=sys.stderr)


# -- up ------------------------------------------------------------------------------------


def up(args: argparse.Namespace) -> int:
    load(args.file)  # wrong input is told here, not by the process in the background
    name = check_name(args.name) if args.name else lab_name(args.file.stem)
    if name in running_labs():
        raise InputError(
            f"a lab called {name!r} is already up", hint=f"harness down --lab {name}, or --name"
        )
    if args.foreground or args.background:
        return _serve(args, name)
    argv = [sys.executable, "-m", "harness.cli", "up", str(args.file), "--name", name]
    argv += ["--boot", args.boot]
    argv += ["--background"] + (["--timings"] if args.timings else [])
    argv += ["--run-dir", str(args.run_dir)] if args.run_dir else []
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        said = child.stdout.readline().decode() if child.stdout else ""
    except KeyboardInterrupt:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_DOWN_S)
        raise
    if child.stdout:
        child.stdout.close()
    if not said.startswith("up "):
        return child.wait(_DOWN_S) or EXIT_LAB
    # The lab goes on in the background; its process is nobody's to wait for.
    child.returncode = 0
    print(f"lab {name} is up; run directory {said.removeprefix('up ').strip()}")
    print(f"  harness status; harness exec --lab {name} MACHINE -- COMMAND; "
          f"harness down --lab {name}")  # fmt: skip
    return EXIT_PASSED


def _serve(args: argparse.Namespace, name: str) -> int:
    """Bring a lab up in this process and keep it until it is told to go down."""
    run_dir = new_run(args.run_dir, name)
    plan = make_plan(load(args.file))
    run_dir.write(RunDir.PLAN, as_json(plan))
    run_dir.write(RunDir.TOPOLOGY, args.file.read_bytes())
    progress = Progress(sys.stderr)
    facts = FactLog(run_dir.facts_path)
    lab = Lab(
        plan,
        LabImages(Store(), progress.say),
        facts,
        logs=run_dir.file(RunDir.LOGS),
        progress=progress,
        name=name,
        warm=args.boot == "warm",
    )
    where = run_dir.path.absolute()
    with ExitStack() as ending:
        ending.callback(facts.close)
        service = LabService(lab, run_dir=str(where), title=str(args.file))
        # The name goes last: as long as it is there, so is something of the lab.
        ending.callback(service.close)
        ending.callback(lab.down)
        try:
            lab.up()
            settle(lab)
            if args.timings:
                _show_timings(lab)
            print(f"up {where}", flush=True)
            if args.background:
                _leave_terminal(run_dir)
            service.over.wait()
        except KeyboardInterrupt:
            raise Interrupted(f"lab {name}: interrupted") from None
    return EXIT_PASSED


def _leave_terminal(run_dir: RunDir) -> None:
    """From now on this process has no terminal or pipe of whoever called ``up``."""
    sys.stderr.flush()
    with run_dir.file(f"{RunDir.LOGS}/lab.log").open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())


def _show_timings(lab: Lab) -> None:
    needs = {step.id: step.needs for step in lab.plan.steps}
    _say("critical path:")
    for stage in critical_path(lab.progress.stages, needs):
        length = stage.end - stage.begin
        _say(f"  {stage.begin:6.1f} s  {stage.name}  {length:.1f} s")


# -- use -----------------------------------------------------------------------------------


def _chosen(args: argparse.Namespace) -> str:
    """The lab that is meant: the given one, or the only one there is."""
    if args.lab:
        return str(args.lab)
    there = running_labs()
    if len(there) == 1:
        return there[0]
    raise InputError(
        "no lab is up" if not there else f"several labs are up: {', '.join(there)}",
        hint="harness up TOPOLOGY" if not there else "say which with --lab NAME",
    )


def status(args: argparse.Namespace) -> int:
    names = [args.lab] if args.lab else running_labs()
    if not names:
        print("no lab is up")
    for name in names:
        with ControlClient(name) as client:
            told = client.ask("status", _say)
        print(f"{name}: {told['state']} for {told['up_s']} s  ({told['title']})")
        print(f"  run directory {told['run_dir']}")
        machines = told["machines"]
        for machine, kind, state in machines if isinstance(machines, list) else ():
            print(f"  {machine:<12} {kind:<14} {state}")
    return EXIT_PASSED


def execute(args: argparse.Namespace) -> int:
    """The command's own status; 128 + N when signal N ended it, as a shell has it."""
    if not args.argv:
        raise InputError("exec: give a command after `--`")
    with ControlClient(_chosen(args)) as client:
        done = client.ask("exec", _say, machine=args.machine, argv=args.argv)
    sys.stdout.write(str(done["stdout"]))
    sys.stderr.write(str(done["stderr"]))
    code = done["status"]
    if not isinstance(code, int):
        return EXIT_LAB
    return code if code >= 0 else 128 - code


def migrate(args: argparse.Namespace) -> int:
    with ControlClient(_chosen(args)) as client:
        done = client.ask("migrate", _say, guest=args.guest, to=args.to)
    print(f"{args.guest} is on {args.to}: {done['status']}, "
          f"downtime {done['downtime_ms']} ms, total {done['total_time_ms']} ms")  # fmt: skip
    return EXIT_PASSED


def down(args: argparse.Namespace) -> int:
    names = running_labs() if args.all else [_chosen(args)]
    if not names:
        print("no lab is up")
    for name in names:
        with ControlClient(name) as client:
            client.ask("down", _say)
        deadline, pause = Deadline(_DOWN_S), threading.Event()
        while name in running_labs():  # the name goes with the last of the lab
            if deadline.expired:
                raise LabError(f"lab {name}: still there after {_DOWN_S:g} s",
                               hint="harness status")  # fmt: skip
            pause.wait(0.1)
        print(f"lab {name} is down")
    return EXIT_PASSED


def console(args: argparse.Namespace) -> int:
    if not sys.stdin.isatty():
        raise InputError("console: needs a terminal", hint="harness exec runs a single command")
    with ControlClient(_chosen(args)) as client:
        stream = client.stream("console", _say, machine=args.machine)
        _say(f"console of {args.machine}; Ctrl-] leaves it")
        former = termios.tcgetattr(sys.stdin)
        try:
            tty.setraw(sys.stdin)
            stream.sendall(b"\n")
            while True:
                readable, _, _ = select.select([sys.stdin, stream], [], [])
                if sys.stdin in readable:
                    typed = os.read(sys.stdin.fileno(), 4096)
                    if b"\x1d" in typed or not typed:
                        break
                    stream.sendall(typed)
                if stream in readable:
                    data = stream.recv(65536)
                    if not data:
                        break
                    os.write(sys.stdout.fileno(), data)
        finally:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, former)
    return EXIT_PASSED
