"""The command line: wires the rooms and maps errors to exit codes; no logic of its own.

0 passed   1 an expectation failed   2 the input is wrong
3 the lab could not be built or broke   4 cannot tell   130 interrupted
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType

from harness.case import Case, Scalar, bind, case_schema, check_case, load_case, parse_settings
from harness.errors import (
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_LAB,
    EXIT_PASSED,
    HarnessError,
    InputError,
    Interrupted,
    LabError,
)
from harness.images import Store
from harness.lab import Lab, Progress, critical_path
from harness.lab.control import ControlClient, running_labs
from harness.lab.doctor import examine
from harness.lab.images import LabImages
from harness.observe import FactLog
from harness.plan import make_plan, render
from harness.plan.render import as_json
from harness.record import RunDir
from harness.report import (
    judge_run,
    junit,
    result_of,
    result_schema,
    timeline,
    write_reports,
)
from harness.report import render as render_result
from harness.scenario import begin_record, make_lab, run_case, settle
from harness.scenario.service import LabService
from harness.topology import json_schema, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. Never shows a traceback for an expected error."""
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        with _terminable():
            return command(args)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (a pager, head) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PASSED


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: the lab goes down first."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


# -- files ---------------------------------------------------------------------------------


def _is_case(path: Path) -> bool:
    """Whether a YAML file is a case (it says `case:`) rather than a topology."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        head = path.read_text(encoding="utf-8")[: 1 << 20]
        return any(line.startswith("case:") for line in head.splitlines())
    return False


def _check(args: argparse.Namespace) -> int:
    status = EXIT_PASSED
    for path in args.files:
        try:
            if _is_case(path):
                bound = check_case(path)
                print(f"{path}: a case on {', '.join(b.variant for b in bound)}: ok")
            else:
                load(path)
                print(f"{path}: a topology: ok")
        except InputError as error:
            print(error, file=sys.stderr)
            status = EXIT_INPUT
    return status


def _schema(args: argparse.Namespace) -> int:
    schemas = {"topology": json_schema, "case": case_schema, "result": result_schema}
    print(json.dumps(schemas[args.of](), indent=2))
    return EXIT_PASSED


def _plan(args: argparse.Namespace) -> int:
    plan = make_plan(load(args.file))
    print(as_json(plan) if args.json else render(plan), end="")
    return EXIT_PASSED


# -- cases ---------------------------------------------------------------------------------


def _runs() -> Path:
    return Path(os.environ.get("HARNESS_RUNS", "runs"))


def _new_run(given: Path | None, title: str) -> RunDir:
    if given is not None:
        return RunDir.create(given)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    return RunDir.create(_runs() / f"{stamp}-{title}-{os.getpid()}")


def _run(args: argparse.Namespace) -> int:
    case = load_case(args.case)
    settings = parse_settings(args.set)
    variants = [args.variant] if args.variant else list(case.variants)
    if args.topology or len(variants) == 1:
        return _run_one(args, case, args.variant, settings)
    if args.run_dir:
        raise InputError(
            "--run-dir names one directory, and this case runs on several topologies",
            hint=f"add --variant, one of {', '.join(variants)}",
        )
    return max(_run_one(args, case, variant, settings) for variant in variants)


def _run_one(
    args: argparse.Namespace, case: Case, variant: str | None, settings: dict[str, Scalar]
) -> int:
    bound = bind(case, variant, topology_path=args.topology, settings=settings)
    run_dir = _new_run(args.run_dir, f"{args.case.stem}-{bound.variant}")
    begin_record(run_dir, bound, settings, str(args.case))
    progress = Progress(None if args.quiet else sys.stderr)
    lab = make_lab(
        bound, run_dir, store=Store(), progress=progress, name=f"{args.case.stem}-{os.getpid()}"
    )
    print(f"run directory: {run_dir.path}", file=sys.stderr)
    service = LabService(lab, run_dir=str(run_dir.path), title=bound.case.claim)
    try:
        run_case(bound, run_dir, lab, hold=_hold if args.keep else None)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; what was recorded is in {run_dir.path}") from None
    except HarnessError as error:
        error.evidence = (*error.evidence, f"run directory: {run_dir.path}")
        raise
    finally:
        service.close()
    return _report_run(args, run_dir)


def _hold(lab: Lab) -> None:
    """Keep a lab up until the user has seen enough of it."""
    print(
        f"lab {lab.name} is kept up; in another terminal: harness exec --lab {lab.name} "
        "MACHINE -- COMMAND\npress Enter to take it down",
        file=sys.stderr,
    )
    sys.stdin.readline()


def _report_run(args: argparse.Namespace, run_dir: RunDir) -> int:
    judged = judge_run(run_dir)
    result = result_of(judged)
    write_reports(run_dir, result)
    print(render_result(result, run_dir.path))
    if args.json:
        _write(args.json, result.to_json())
    if args.junit:
        _write(args.junit, junit([result]))
    return judged.verdict.exit_code


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _report(args: argparse.Namespace) -> int:
    run_dir = RunDir.open(args.run)
    judged = judge_run(run_dir)
    if args.timeline:
        print(timeline(judged.evidence))
        return EXIT_PASSED
    result = result_of(judged)
    print(result.to_json() if args.json else render_result(result, run_dir.path))
    return judged.verdict.exit_code


# -- labs that stay up ---------------------------------------------------------------------


def _up(args: argparse.Namespace) -> int:
    topology = load(args.file)  # wrong input is told here, not by the process in the background
    name = args.name or f"{args.file.stem}"
    if name in running_labs():
        raise InputError(
            f"a lab called {name!r} is already up", hint=f"harness down --lab {name}, or --name"
        )
    if args.foreground:
        return _serve(args, name, sys.stderr.fileno())
    del topology
    argv = [sys.executable, "-m", "harness.cli", "up", str(args.file), "--name", name]
    argv += ["--foreground"] + (["--timings"] if args.timings else [])
    argv += ["--run-dir", str(args.run_dir)] if args.run_dir else []
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        try:
            said = child.stdout.readline().decode() if child.stdout else ""
        except KeyboardInterrupt:
            child.send_signal(signal.SIGTERM)
            child.wait(60)
            raise
        if not said.startswith("up "):
            status = child.wait(60)
            return status or EXIT_LAB
        print(f"lab {name} is up; run directory {said.removeprefix('up ').strip()}")
        print(f"  harness status; harness exec --lab {name} MACHINE -- COMMAND; "
              f"harness down --lab {name}")  # fmt: skip
        # The lab goes on in the background; leave its process alone.
        child.returncode = 0
        if child.stdout:
            child.stdout.close()
    return EXIT_PASSED


def _serve(args: argparse.Namespace, name: str, _progress: int) -> int:
    """Bring a lab up in this process and keep it until it is told to go down."""
    run_dir = _new_run(args.run_dir, name)
    plan = make_plan(load(args.file))
    run_dir.write(RunDir.PLAN, as_json(plan))
    run_dir.write(RunDir.TOPOLOGY, args.file.read_bytes())
    progress = Progress(sys.stderr)
    lab = Lab(
        plan,
        LabImages(Store(), progress.say),
        FactLog(run_dir.facts_path),
        logs=run_dir.file(RunDir.LOGS),
        progress=progress,
        name=name,
    )
    service = LabService(lab, run_dir=str(run_dir.path.absolute()), title=str(args.file))
    try:
        lab.up()
        settle(lab)
        if args.timings:
            _show_timings(lab)
        print(f"up {run_dir.path.absolute()}", flush=True)
        while not service.over.wait(1.0):
            pass
    except KeyboardInterrupt:
        raise Interrupted(f"lab {name}: interrupted") from None
    finally:
        lab.down()
        lab.facts.close()
        service.close()
    return EXIT_PASSED


def _show_timings(lab: Lab) -> None:
    needs = {step.id: step.needs for step in lab.plan.steps}
    print("critical path:", file=sys.stderr)
    for stage in critical_path(lab.progress.stages, needs):
        length = stage.end - stage.begin
        print(f"  {stage.begin:6.1f} s  {stage.name}  {length:.1f} s", file=sys.stderr)


def _lab_name(args: argparse.Namespace) -> str:
    """The lab that is meant: the given one, or the only one there is."""
    if args.lab:
        return str(args.lab)
    up = running_labs()
    if len(up) == 1:
        return up[0]
    raise InputError(
        "no lab is up" if not up else f"several labs are up: {', '.join(up)}",
        hint="harness up TOPOLOGY" if not up else "say which with --lab NAME",
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _status(args: argparse.Namespace) -> int:
    names = [args.lab] if args.lab else running_labs()
    if not names:
        print("no lab is up")
    for name in names:
        with ControlClient(name) as client:
            status = client.ask("status", _say)
        print(f"{name}: {status['state']} for {status['up_s']} s  ({status['title']})")
        print(f"  run directory {status['run_dir']}")
        machines = status["machines"]
        for machine, kind, state in machines if isinstance(machines, list) else ():
            print(f"  {machine:<12} {kind:<14} {state}")
    return EXIT_PASSED


def _exec(args: argparse.Namespace) -> int:
    if not args.argv:
        raise InputError("exec: give a command after `--`")
    with ControlClient(_lab_name(args)) as client:
        done = client.ask("exec", _say, machine=args.machine, argv=args.argv)
    sys.stdout.write(str(done["stdout"]))
    sys.stderr.write(str(done["stderr"]))
    status = done["status"]
    code = status if isinstance(status, int) else EXIT_LAB
    return code if code >= 0 else 128 - code


def _migrate(args: argparse.Namespace) -> int:
    with ControlClient(_lab_name(args)) as client:
        done = client.ask("migrate", _say, guest=args.guest, to=args.to)
    print(f"{args.guest} is on {args.to}: {done['status']}, "
          f"downtime {done['downtime_ms']} ms, total {done['total_time_ms']} ms")  # fmt: skip
    return EXIT_PASSED


def _down(args: argparse.Namespace) -> int:
    names = running_labs() if args.all else [_lab_name(args)]
    for name in names:
        with ControlClient(name) as client:
            client.ask("down", _say)
        over = threading.Event()
        for _ in range(600):  # the name goes with the last of the lab
            if name not in running_labs():
                break
            over.wait(0.1)
        else:
            raise LabError(f"lab {name}: still there after 60 s", hint="harness status")
        print(f"lab {name} is down")
    return EXIT_PASSED


def _console(args: argparse.Namespace) -> int:
    if not sys.stdin.isatty():
        raise InputError("console: needs a terminal", hint="harness exec runs a single command")
    with ControlClient(_lab_name(args)) as client:
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


# -- images and this machine ---------------------------------------------------------------


def _images(args: argparse.Namespace) -> int:
    store = Store()
    if args.action == "build":
        for name in args.names or store.recipes():
            store.ensure(name, progress=_say)
        store.tiny_guest(progress=_say)
        return EXIT_PASSED
    if args.action == "list":
        for entry in store.list():
            made = entry.manifest
            print(f"{made.kind:<10} {made.name:<12} {made.digest[:16]} "
                  f"{made.size >> 20:>5} MiB  {made.made.version}")  # fmt: skip
        return EXIT_PASSED
    for entry in store.stale():
        print(f"removing {entry.manifest.kind} {entry.manifest.name} {entry.manifest.digest[:16]}")
        store.remove(entry)
    return EXIT_PASSED


def _doctor(args: argparse.Namespace) -> int:
    lacking = False
    for check in examine(Store()):
        print(f"{check.state:<8} {check.what}: {check.found}", flush=True)
        if check.hint:
            print(f"         hint: {check.hint}")
        lacking = lacking or check.state == "lacking"
    return EXIT_LAB if lacking else EXIT_PASSED


# -- the parser ----------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="harness", description=__doc__, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        name: str, command: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=command)
        return made

    one = add("check", _check, "check topologies and cases; all problems at once")
    one.add_argument("files", nargs="+", type=Path, metavar="FILE")
    one = add("schema", _schema, "print a JSON Schema for editors")
    one.add_argument("of", nargs="?", default="topology", choices=["topology", "case", "result"])
    one = add("plan", _plan, "print everything that a lab would make; touch nothing")
    one.add_argument("file", type=Path, metavar="TOPOLOGY")
    one.add_argument("--json", action="store_true")

    one = add("run", _run, "run a case: lab up, traffic, steps, verdict, lab down")
    one.add_argument("case", type=Path, metavar="CASE")
    one.add_argument("--variant", help="which of the case's topologies (default: all of them)")
    one.add_argument("--topology", type=Path, help="run on this topology instead")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="a parameter of the case")  # fmt: skip
    one.add_argument("--run-dir", type=Path, help="directory to make (default: below runs/)")
    one.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    one.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML there too")
    one.add_argument("--keep", action="store_true", help="keep the lab up until Enter")
    one.add_argument("--quiet", action="store_true", help="no progress")
    one = add("report", _report, "judge a run again from its directory; needs no root")
    one.add_argument("run", type=Path, metavar="RUN")
    one.add_argument("--json", action="store_true")
    one.add_argument("--timeline", action="store_true", help="every fact in its order")

    one = add("up", _up, "bring a lab up and leave it up")
    one.add_argument("file", type=Path, metavar="TOPOLOGY")
    one.add_argument("--name", help="what it is called (default: the file's name)")
    one.add_argument("--run-dir", type=Path, help="directory to make (default: below runs/)")
    one.add_argument("--timings", action="store_true", help="print the critical path")
    one.add_argument("--foreground", action="store_true", help="stay in this terminal")
    one = add("status", _status, "the labs that are up, and their machines")
    one.add_argument("--lab")
    one = add("exec", _exec, "run a command on a machine of a lab")
    one.add_argument("--lab")
    one.add_argument("machine", metavar="MACHINE")
    one.add_argument("argv", nargs="*", metavar="-- COMMAND")
    one = add("console", _console, "the console of a guest or host VM")
    one.add_argument("--lab")
    one.add_argument("machine", metavar="MACHINE")
    one = add("migrate", _migrate, "migrate a guest of a lab that is up")
    one.add_argument("--lab")
    one.add_argument("guest", metavar="GUEST")
    one.add_argument("--to", required=True, metavar="HOST")
    one = add("down", _down, "take a lab down")
    one.add_argument("--lab")
    one.add_argument("--all", action="store_true")

    one = add("images", _images, "build, list or prune kernels, QEMUs and file systems")
    one.add_argument("action", choices=["build", "list", "gc"])
    one.add_argument("names", nargs="*", metavar="RECIPE")
    add("doctor", _doctor, "what this machine can do, really tried, and what to install")
    return parser


if __name__ == "__main__":
    sys.exit(main())
