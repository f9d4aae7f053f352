"""The commands and their options.

Neighbours: each command is a function of ``inputs``, ``cases``, ``matrices``, ``labs`` or
``here``, named here as ``module.function`` and imported when it is called: what sends packets
and runs labs takes a second to load, and most commands do neither.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

Options = argparse.Namespace
SCHEMAS = ("case", "matrix", "result", "topology")
"""What ``harness schema`` can print; ``inputs`` has them."""


def command_of(options: Options) -> int:
    """Carry out the command that was parsed; the exit code."""
    module, _, name = options.command.partition(".")
    status: int = getattr(import_module(f"harness.cli.{module}"), name)(options)
    return status


def make_parser(description: str) -> argparse.ArgumentParser:
    """The parser of ``harness``; ``command_of`` carries its result out."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="harness", description=description, formatter_class=raw)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=command)
        return made

    one = add("check", "inputs.check", "check topologies and cases; all problems at once")
    one.add_argument("files", nargs="+", type=Path, metavar="FILE")
    one = add("schema", "inputs.schema", "print a JSON Schema for editors")
    one.add_argument("of", nargs="?", default="topology", choices=SCHEMAS)
    one = add("plan", "inputs.plan", "print everything that a lab would make; touch nothing")
    one.add_argument("file", type=Path, metavar="TOPOLOGY")
    one.add_argument("--json", action="store_true")

    one = add("run", "cases.run", "run a case: lab up, traffic, steps, verdict, lab down")
    one.add_argument("case", type=Path, metavar="CASE")
    one.add_argument("--variant", help="which of the case's topologies (default: all of them)")
    one.add_argument("--topology", type=Path, help="run on this topology instead")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="a parameter of the case")  # fmt: skip
    _add_choices(one)
    one.add_argument("--matrix", type=Path, metavar="FILE", help="run every cell of this matrix")
    one.add_argument("--markdown", type=Path, metavar="FILE",
                     help="with --matrix: write the table there as Markdown")  # fmt: skip
    one.add_argument("--run-dir", type=Path, help="directory to make (default: below runs/)")
    one.add_argument("--json", type=Path, metavar="FILE",
                     help="write the result there too (a list when there are several)")  # fmt: skip
    one.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML there too")
    one.add_argument("--keep", action="store_true", help="keep the lab up until Enter")
    one.add_argument("--quiet", action="store_true", help="no progress")
    one = add("report", "cases.report", "judge a run again from its directory; needs no root")
    one.add_argument("run", type=Path, metavar="RUN")
    one.add_argument("--json", action="store_true")
    one.add_argument("--timeline", action="store_true", help="every fact in its order")

    one = add("catalogue", "catalogue.show", "print the page of all cases and their results")
    one.add_argument("--cases", type=Path, default=Path("testcases"), metavar="DIR")
    one = add("catalogue-add", "catalogue.add", "take results of runs into docs/catalogue.json")
    one.add_argument("runs", nargs="+", type=Path, metavar="RUN")

    one = add("matrix", "matrices.cells", "print the cells of a matrix; touch nothing")
    one.add_argument("file", type=Path, metavar="MATRIX")
    one.add_argument("--avocado", action="store_true",
                     help="as variants for avocado's --json-variants-load")  # fmt: skip

    one = add("up", "labs.up", "bring a lab up and leave it up")
    one.add_argument("file", type=Path, metavar="TOPOLOGY")
    one.add_argument("--name", help="what it is called (default: the file's name)")
    one.add_argument("--run-dir", type=Path, help="directory to make (default: below runs/)")
    one.add_argument("--timings", action="store_true", help="print the critical path")
    one.add_argument("--foreground", action="store_true", help="stay in this terminal")
    one.add_argument("--background", action="store_true", help=argparse.SUPPRESS)
    one = add("status", "labs.status", "the labs that are up, and their machines")
    one.add_argument("--lab")
    one = add("exec", "labs.execute", "run a command on a machine of a lab")
    one.add_argument("--lab")
    one.add_argument("machine", metavar="MACHINE")
    one.add_argument("argv", nargs="*", metavar="-- COMMAND")
    one = add("console", "labs.console", "the console of a guest or host VM")
    one.add_argument("--lab")
    one.add_argument("machine", metavar="MACHINE")
    one = add("migrate", "labs.migrate", "migrate a guest of a lab that is up")
    one.add_argument("--lab")
    one.add_argument("guest", metavar="GUEST")
    one.add_argument("--to", required=True, metavar="HOST")
    one = add("down", "labs.down", "take a lab down")
    one.add_argument("--lab")
    one.add_argument("--all", action="store_true")

    one = add("images", "here.images", "build, list, verify or prune kernels, QEMUs, file systems")
    one.add_argument("action", choices=["build", "list", "verify", "gc", "remove"])
    one.add_argument("names", nargs="*", metavar="REFERENCE",
                     help="recipe, recipe file or build tree; or a digest")  # fmt: skip
    one.add_argument("--all", action="store_true", help="build every shipped recipe")
    one.add_argument("--kernel", default="kernel", metavar="REFERENCE",
                     help="build guest and host images for this kernel")  # fmt: skip
    one.add_argument("--days", type=float, default=30.0, metavar="N",
                     help="gc: also what was not used for N days (default: 30)")  # fmt: skip
    one.add_argument("--dry-run", action="store_true", help="gc: show, and remove nothing")
    add("doctor", "here.doctor", "what this machine can do, really tried, and what to install")
    return parser


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """What may be chosen in the place of what a topology says; pytest has the same options."""
    group = parser.add_argument_group("in the place of what the topology says")
    group.add_argument("--qemu", action="append", default=[], metavar="[HOST=]REF",
                       help="the QEMU that runs guests (on that host only)")  # fmt: skip
    group.add_argument("--guest-kernel", metavar="REF", help="the kernel of every guest")
    group.add_argument("--host-kernel", metavar="REF", help="the kernel of every host VM")
    group.add_argument("--machine", metavar="TYPE", help="the machine type of every guest")
    group.add_argument("--accelerator", choices=["kvm", "tcg"], help="of every guest")
