"""The commands and their options.

Neighbours: each command is a function of ``inputs``, ``cases``, ``gates``, ``bisecting``,
``matrices``, ``labs`` or ``here``, named here as ``module.function`` and imported when it is
called: what sends packets and runs labs takes a second to load, and most commands do neither.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

Options = argparse.Namespace
SCHEMAS = ("case", "gate", "matrix", "result", "topology")
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
    _add_boot(one)
    one.add_argument("--keep", action="store_true", help="keep the lab up until Enter")
    timings = "how long each step took, what it waited for, and the critical path"
    one.add_argument("--timings", action="store_true", help=timings)
    one.add_argument("--quiet", action="store_true", help="no progress")
    one = add("report", "cases.report", "judge a run again from its directory; needs no root")
    one.add_argument("run", type=Path, metavar="RUN")
    one.add_argument("--json", action="store_true")
    one.add_argument("--timeline", action="store_true", help="every fact in its order")
    one.add_argument("--timings", action="store_true", help=timings)

    _add_gate(add("gate", "gates.gate", "compare two builds by the endpoints of cases"))
    one = add("bisect", "bisecting.bisect", "which commit, or published version, broke a case")
    _add_bisect(one)
    # Without a help text it is not listed: `git bisect run` calls it.
    one = commands.add_parser("bisect-step")
    one.set_defaults(command="bisect_step.step")
    one.add_argument("directory", type=Path)

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
    _add_boot(one)
    one.add_argument("--timings", action="store_true", help=timings)
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

    _add_probe_nic(
        add("probe-nic", "nics.probe", "can a NIC carry a failover pair's primary? without a guest")
    )
    one = add("images", "here.images", "build, list, verify or prune kernels, QEMUs, file systems")
    one.add_argument("action", choices=["build", "list", "verify", "gc", "remove"])
    one.add_argument("names", nargs="*", metavar="REFERENCE",
                     help="recipe, recipe file or build tree; or a digest")  # fmt: skip
    one.add_argument("--all", action="store_true", help="build every shipped recipe")
    one.add_argument("--warm", nargs="+", default=[], type=Path, metavar="FILE",
                     help="build: also the saved states of these cases and topologies")  # fmt: skip
    one.add_argument("--kernel", default="kernel", metavar="REFERENCE",
                     help="build guest and host images for this kernel")  # fmt: skip
    one.add_argument("--days", type=float, default=30.0, metavar="N",
                     help="gc: also what was not used for N days (default: 30)")  # fmt: skip
    one.add_argument("--dry-run", action="store_true", help="gc: show, and remove nothing")
    add("doctor", "here.doctor", "what this machine can do, really tried, and what to install")
    return parser


def _add_probe_nic(one: argparse.ArgumentParser) -> None:
    one.add_argument("pf", nargs="?", metavar="[[USER@]HOST:]PF",
                     help="netdev of a NIC with SR-IOV, here or on a machine (by ssh)")  # fmt: skip
    one.add_argument("--ssh", metavar="[USER@]HOST[:PORT]", help="the machine that PF is on")
    one.add_argument("--key", type=Path, metavar="FILE", help="the ssh key for every machine")
    one.add_argument("--known-hosts", type=Path, metavar="FILE",
                     help="accept only machines whose host key is in there")  # fmt: skip
    one.add_argument("--from", dest="peer", metavar="[[USER@]HOST:]IFNAME",
                     help="a netdev on the other side of the PF's wire, on the same machine or "
                     "another one; frames come from it and go to it")  # fmt: skip
    one.add_argument("--vf", type=int, default=0, metavar="N", help="which VF (default: 0)")
    one.add_argument("--vlan", type=int, default=100, metavar="ID",
                     help="the VLAN to try, too; 0: untagged only (default: 100)")  # fmt: skip
    one.add_argument("--standby", choices=["bridge", "filter"],
                     help="only one way to the standby: by a bridge, or by the PF's own filter "
                     "(macvtap); default: both")  # fmt: skip
    one.add_argument("--frames", type=int, default=20, metavar="N",
                     help="frames of each kind in each state (default: 20)")  # fmt: skip
    one.add_argument("--yes", action="store_true", help="take the PF although it is in use")
    one.add_argument("--json", action="store_true")
    one.add_argument("--quiet", action="store_true", help="no progress")
    lab = one.add_argument_group("a NIC of a topology's host, which is brought up for it")
    lab.add_argument("--topology", type=Path, metavar="FILE")
    lab.add_argument("--host", metavar="NAME")
    lab.add_argument("--nic", metavar="NAME")


def _add_boot(parser: argparse.ArgumentParser) -> None:
    """pytest has the same option."""
    parser.add_argument("--boot", choices=["warm", "cold"], default="warm",
                        help="cold: boot every machine; warm (default): load saved states, "
                        "unless the case says cold")  # fmt: skip


def _add_gate(one: argparse.ArgumentParser) -> None:
    one.add_argument("cases", nargs="+", type=Path, metavar="CASE")
    for side in ("baseline", "candidate"):
        one.add_argument(f"--{side}", action="append", default=[], metavar="WHAT=REF",
                         help="qemu=REF, guest-kernel=REF, host-kernel=REF, module=FILE, "
                         "machine=TYPE or accelerator=NAME; may be given again (default: what "
                         "the topology says)")  # fmt: skip
    one.add_argument("--a-a", action="store_true",
                     help="the baseline against itself: does this machine cry wolf?")  # fmt: skip
    one.add_argument("--runs", type=int, default=10, metavar="N",
                     help="budget of runs of each build (default: 10)")  # fmt: skip
    one.add_argument("--minutes", type=float, metavar="N",
                     help="budget of time, of all runs of a case (default: none)")  # fmt: skip
    one.add_argument("--variant", help="which of the cases' topologies (default: all of them)")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="a parameter of the cases")  # fmt: skip
    _add_boot(one)
    one.add_argument("--gate-dir", type=Path, metavar="DIR",
                     help="directory to make, or to go on in (default: below runs/)")  # fmt: skip
    one.add_argument("--json", type=Path, metavar="FILE",
                     help="write the decision there (a list when there are several)")  # fmt: skip
    one.add_argument("--junit", type=Path, metavar="FILE", help="write JUnit XML there")
    one.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    one.add_argument("--quiet", action="store_true", help="no progress of the labs")


def _add_bisect(one: argparse.ArgumentParser) -> None:
    one.add_argument("case", type=Path, metavar="CASE")
    one.add_argument("--variant", help="which of the case's topologies")
    one.add_argument("--topology", type=Path, help="run on this topology instead")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                     help="a parameter of the case")  # fmt: skip
    one.add_argument("--good", metavar="REV", help="a commit (a version) that is good")
    one.add_argument("--bad", metavar="REV", help="a later one that is bad")
    one.add_argument("--trust", action="store_true", help="do not try these two first")
    one.add_argument("--expect", metavar="EXPECTATION",
                     help="bad is only what fails by this one (its text or path); "
                     "what fails otherwise is skipped")  # fmt: skip
    one.add_argument("--repeat", type=int, default=3, metavar="N",
                     help="runs of a revision until one tells, before it is skipped "
                     "(default: 3)")  # fmt: skip
    one.add_argument("--bisect-dir", type=Path, metavar="DIR",
                     help="directory to make (default: below runs/)")  # fmt: skip
    one.add_argument("--quiet", action="store_true", help="no progress")
    tree = one.add_argument_group("over a git tree")
    tree.add_argument("--tree", type=Path, default=Path(), metavar="DIR",
                      help="the git tree (default: the working directory)")  # fmt: skip
    tree.add_argument("--build", metavar="CMD", help="shell command that builds, run in the tree")
    tree.add_argument("--as", dest="as_", default="qemu", metavar="WHAT",
                      help="what it makes: qemu (default), guest-kernel, host-kernel or "
                      "module=NAME")  # fmt: skip
    tree.add_argument("--result", metavar="PATH",
                      help="where, in the tree (default: build for a QEMU, the tree itself for "
                      "a kernel)")  # fmt: skip
    listed = one.add_argument_group("over published versions")
    listed.add_argument("--between", nargs="+", metavar="RECIPE",
                        help="two recipes and those between, or a list: good to bad")  # fmt: skip
    listed.add_argument("--suite-versions", choices=["qemu", "guest-kernel", "host-kernel"],
                        help="the exact versions that suites have today")  # fmt: skip
    listed.add_argument("--suite", action="append", default=[], metavar="SUITE",
                        help="look there (default: where shipped recipes do)")  # fmt: skip
    _add_choices(one)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    """What may be chosen in the place of what a topology says; pytest has the same options."""
    group = parser.add_argument_group("in the place of what the topology says")
    group.add_argument("--qemu", action="append", default=[], metavar="[HOST=]REF",
                       help="the QEMU that runs guests (on that host only)")  # fmt: skip
    group.add_argument("--guest-kernel", metavar="REF", help="the kernel of every guest")
    group.add_argument("--host-kernel", metavar="REF", help="the kernel of every host VM")
    group.add_argument("--machine", metavar="TYPE", help="the machine type of every guest")
    group.add_argument("--accelerator", choices=["kvm", "tcg"], help="of every guest")
