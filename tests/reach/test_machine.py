"""A machine's commands, processes and files, in a namespace, by the real agent."""

from __future__ import annotations

import ast
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import pytest

from harness.errors import CleanupError, CommandFailed, DeadlineExceeded, ReachError
from harness.reach.agent import MODULES
from harness.reach.deadline import Deadline
from harness.reach.local import NamespaceMachine
from harness.reach.machine import RemoteProcess
from harness.reach.sandbox import SCRATCH, Sandbox
from harness.reach.wire import AgentRefused


def must_end(machine: NamespaceMachine, command: str) -> None:
    """A killed process is listed until the kernel has taken it down: a moment, not longer."""
    deadline = Deadline(5)
    while command in machine.run(["ps", "-eo", "args"]).stdout:
        deadline.raise_if_expired(f"end of {command}")


def test_a_command_has_its_input_output_and_status(machine: NamespaceMachine) -> None:
    done = machine.run(
        ["sh", "-c", "cat; echo $WORD >&2; exit 3"], input=b"in", env={"WORD": "w"}, check=False
    )
    assert (done.status, done.stdout, done.stderr) == (3, "in", "w\n")


def test_a_command_that_fails_is_quoted_with_its_last_lines(machine: NamespaceMachine) -> None:
    with pytest.raises(CommandFailed) as caught:
        machine.run(["sh", "-c", "echo wrong >&2; exit 2"])
    assert str(caught.value) == (
        "alpha: `sh -c echo wrong >&2; exit 2` ended with status 2\n    wrong"
    )


def test_a_command_that_takes_too_long_is_killed_with_its_children(
    machine: NamespaceMachine,
) -> None:
    with pytest.raises(DeadlineExceeded, match=r"not within 0\.5 s; last seen: started"):
        machine.run(["sh", "-c", "echo started; sleep 4243; true"], timeout=0.5)
    must_end(machine, "sleep 4243")


def test_a_program_that_is_not_there_is_named(machine: NamespaceMachine) -> None:
    with pytest.raises(AgentRefused, match="alpha: no-such-tool: no such program on this machine"):
        machine.run(["no-such-tool"])
    with pytest.raises(AgentRefused, match="no-such-tool: no such program"):
        machine.spawn(["no-such-tool"], log=f"{machine.scratch}/log")


def test_a_slow_command_does_not_delay_others(machine: NamespaceMachine) -> None:
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(machine.run, ["sleep", "1.5"])
        before = time.monotonic()
        for _ in range(10):
            machine.run(["true"])
        assert time.monotonic() - before < 1.5
        assert not slow.done()
        slow.result(10)


def test_many_commands_at_once_get_their_own_answers(machine: NamespaceMachine) -> None:
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda n: machine.run(["echo", str(n)]).stdout, range(40)))
    assert outputs == [f"{n}\n" for n in range(40)]


def test_a_process_tells_its_end_and_keeps_its_output(machine: NamespaceMachine) -> None:
    ended: list[RemoteProcess] = []
    told = threading.Event()

    def on_end(process: RemoteProcess) -> None:
        ended.append(process)
        told.set()

    log = f"{machine.scratch}/log"
    before = time.monotonic_ns()
    process = machine.spawn(["sh", "-c", "echo out; echo err >&2; exit 5"], log=log, on_end=on_end)
    assert process.wait(Deadline(10)) == 5
    assert told.wait(5)
    assert ended == [process]
    assert process.log_tail() == ("out", "err")
    assert process.ended_at is not None
    assert before < process.ended_at.t_ns <= time.monotonic_ns()
    assert process.ended_at.err_ns == 0  # no time namespace: it is the run's own clock


def test_a_process_that_ends_takes_its_children_along(machine: NamespaceMachine) -> None:
    process = machine.spawn(["sh", "-c", "sleep 4244 & exit 0"], log=f"{machine.scratch}/log")
    process.wait(Deadline(10))
    must_end(machine, "sleep 4244")


def test_waiting_for_a_process_that_runs_on_ends_in_a_deadline(machine: NamespaceMachine) -> None:
    process = machine.spawn(["sleep", "600"], log=f"{machine.scratch}/log")
    with pytest.raises(DeadlineExceeded, match=r"alpha: end of sleep: .*still running"):
        process.wait(Deadline(0.1))
    process.signal(15)
    assert process.wait(Deadline(10)) == -15


def test_close_ends_processes_and_running_commands(sandbox: Sandbox) -> None:
    with NamespaceMachine(sandbox, sandbox.namespace("other")) as watcher:
        machine = NamespaceMachine(sandbox, sandbox.namespace("alpha"))
        machine.spawn(["sh", "-c", "trap '' TERM; sleep 4245; true"], log=f"{machine.scratch}/log")
        with ThreadPoolExecutor(1) as pool:
            command = pool.submit(machine.run, ["sleep", "4246"])
            deadline = Deadline(10)
            while "4246" not in watcher.run(["ps", "-eo", "args"]).stdout:
                deadline.raise_if_expired("start of the command")
            machine.close()
            with pytest.raises(ReachError):
                command.result(10)
        must_end(watcher, "sleep 4245")
        must_end(watcher, "sleep 4246")


def test_processes_die_with_an_agent_that_is_killed(sandbox: Sandbox) -> None:
    with NamespaceMachine(sandbox, sandbox.namespace("other")) as watcher:
        machine = NamespaceMachine(sandbox, sandbox.namespace("alpha"))
        process = machine.spawn(["sleep", "4247"], log=f"{machine.scratch}/log")
        machine._process.kill()
        with pytest.raises(ReachError, match="connection lost; how sleep ended is not known"):
            process.wait(Deadline(10))
        must_end(watcher, "sleep 4247")
        with pytest.raises(CleanupError, match="alpha: the agent was gone before it could clean"):
            machine.close()


def test_a_call_that_waits_when_the_agent_dies_is_told_so_with_its_last_words(
    sandbox: Sandbox,
) -> None:
    machine = NamespaceMachine(sandbox, sandbox.namespace("alpha"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(machine.run, ["sleep", "600"])
        machine._process.kill()
        with pytest.raises(ReachError, match=r"alpha: the connection to its agent was lost"):
            waiting.result(10)
    machine._closed = True


def test_files_are_written_read_and_removed(machine: NamespaceMachine, tmp_path: Path) -> None:
    path = f"{machine.scratch}/file"
    assert machine.scratch.startswith(SCRATCH)
    assert machine.status(path) is None
    machine.write_file(path, b"one\xff\n", mode=0o600)
    machine.write_file(path, b"two\n", append=True)
    status = machine.status(path)
    assert status is not None
    assert (status.size, status.mode & 0o777) == (9, 0o600)
    assert machine.read_bytes(path) == b"one\xff\ntwo\n"
    assert machine.read_text(path, tail=4) == "two\n"
    machine.get(path, tmp_path / "copy")
    machine.put(tmp_path / "copy", f"{path}2")
    assert machine.read_bytes(f"{path}2") == b"one\xff\ntwo\n"
    assert machine.list_directory(machine.scratch) == ("file", "file2")
    machine.remove(path)
    machine.remove(path)
    assert not machine.exists(path)
    with pytest.raises(AgentRefused, match=f"alpha: {path}: No such file or directory"):
        machine.read_bytes(path)


def test_what_cannot_be_undone_is_named(sandbox: Sandbox) -> None:
    machine = NamespaceMachine(sandbox, sandbox.namespace("alpha"))
    machine.run(["mount", "-t", "tmpfs", "tmpfs", machine.scratch])  # cannot be removed: busy
    with pytest.raises(CleanupError, match="alpha: not everything could be undone") as caught:
        machine.close()
    assert f"directory {machine.scratch}: " in str(caught.value)


def test_a_local_machines_clocks_are_ours(machine: NamespaceMachine) -> None:
    assert machine.clock.stamp("monotonic", 123).t_ns == 123
    now = time.monotonic_ns()
    stamp = machine.clock.stamp("realtime", time.time_ns())
    assert abs(stamp.t_ns - now) < 5_000_000
    assert stamp.err_ns < 1_000_000


@pytest.mark.parametrize("module", MODULES)
def test_the_agent_is_python_3_9_and_imports_nothing_of_the_harness(module: str) -> None:
    text = (resources.files("harness.reach.agent") / f"{module}.py").read_text()
    tree = ast.parse(text, feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness"):
            assert (node.module or "").startswith("harness.reach.agent")
