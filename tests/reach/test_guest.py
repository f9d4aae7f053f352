"""The guest agent's client, against a scripted agent on a socketpair."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.errors import CommandFailed, DeadlineExceeded, ReachError
from harness.reach.deadline import Deadline
from harness.reach.guest import GuestAgent, GuestMachine, GuestRefused

Answer = Callable[[str, dict[str, Any]], Any]


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


class FakeAgent:
    """Speaks as qemu-ga does: parse errors answered, sync delimited by 0xff."""

    def __init__(self, answer: Answer, *, garbage: bytes = b"", deaf_to: int = 0) -> None:
        self.answer, self.garbage, self.deaf_to = answer, garbage, deaf_to
        self.seen: list[str] = []
        self.near, self.far = socket.socketpair()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        self.far.sendall(self.garbage)
        for line in self.far.makefile("rb"):
            if line.startswith(b"\xff"):
                self.far.sendall(b'{"error": {"class": "GenericError", "desc": "JSON parse"}}\n')
            request = json.loads(line.lstrip(b"\xff"))
            command, args = request["execute"], request.get("arguments", {})
            self.seen.append(command)
            if command == "guest-sync-delimited":
                if self.deaf_to:
                    self.deaf_to -= 1
                    continue
                self.far.sendall(b"\xff" + json.dumps({"return": args["id"]}).encode() + b"\n")
                continue
            result = self.answer(command, args)
            if result is not None:
                self.far.sendall(json.dumps(result).encode() + b"\n")

    def hang_up(self) -> None:
        self.far.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def agents() -> Iterator[Callable[..., FakeAgent]]:
    made: list[FakeAgent] = []

    def make(answer: Answer | None = None, **options: Any) -> FakeAgent:
        made.append(FakeAgent(answer or (lambda _c, _a: {"return": {}}), **options))
        return made[-1]

    yield make
    for one in made:
        one.near.close()
        one.far.close()


Agents = Callable[..., FakeAgent]


def test_old_answers_and_garbage_in_the_channel_are_not_taken_for_ours(agents: Agents) -> None:
    garbage = b'garbage\n{"return": {"old": true}}\n{"return": 1}\nhalf a line'
    guest = GuestAgent("g1", agents(lambda _c, _a: {"return": "ours"}, garbage=garbage).near)
    assert guest.call("guest-x", {}, Deadline(5)) == "ours"


def test_the_channel_is_synced_once_and_not_before_every_call(agents: Agents) -> None:
    fake = agents()
    guest = GuestAgent("g1", fake.near)
    for _ in range(3):
        guest.call("guest-ping", {}, Deadline(5))
    assert fake.seen == ["guest-sync-delimited", *["guest-ping"] * 3]


def test_an_agent_that_misses_the_first_sync_is_asked_again(
    agents: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.reach.guest._SYNC_EVERY", 0.1)
    fake = agents(deaf_to=2)
    GuestAgent("g1", fake.near).wait_ready(Deadline(5))
    assert fake.seen == ["guest-sync-delimited"] * 3


def test_an_agent_that_never_answers_ends_in_a_deadline_that_says_what_to_look_at(
    agents: Agents,
) -> None:
    fake = agents(deaf_to=1000, garbage=b"login: \n")
    with pytest.raises(DeadlineExceeded) as caught:
        GuestAgent("g1", fake.near).wait_ready(Deadline(0.3))
    assert "guest g1: answer of its agent (is qemu-guest-agent running" in str(caught.value)
    assert "last seen: " in str(caught.value)


def test_an_answer_that_comes_too_late_is_not_given_to_the_next_call(agents: Agents) -> None:
    gate = threading.Event()

    def slow_once(command: str, _args: dict[str, Any]) -> Any:
        if command == "guest-slow":
            gate.wait(5)
            return {"return": "late"}
        return {"return": "right"}

    guest = GuestAgent("g1", agents(slow_once).near)
    with pytest.raises(DeadlineExceeded, match=r"guest g1: answer to guest-slow: not within"):
        guest.call("guest-slow", {}, Deadline(0.2))
    gate.set()
    assert guest.call("guest-next", {}, Deadline(5)) == "right"


def test_a_refusal_carries_the_agents_words(agents: Agents) -> None:
    refuse = {"error": {"class": "CommandNotFound", "desc": "guest-x has been disabled"}}
    guest = GuestAgent("g1", agents(lambda _c, _a: refuse).near)
    with pytest.raises(GuestRefused, match="refused guest-x: guest-x has been disabled"):
        guest.call("guest-x", {}, Deadline(5))
    assert guest._in_step  # an orderly answer: no new sync is needed


def test_a_channel_that_is_closed_is_named(agents: Agents) -> None:
    fake = agents()
    guest = GuestAgent("g1", fake.near)
    guest.wait_ready(Deadline(5))
    fake.hang_up()
    with pytest.raises(ReachError, match="guest g1: its channel was closed"):
        guest.call("guest-ping", {}, Deadline(5))


def test_after_a_migration_the_new_channel_is_used_and_synced(agents: Agents) -> None:
    source, destination = agents(lambda _c, _a: {"return": 1}), agents(lambda _c, _a: {"return": 2})
    guest = GuestAgent("g1", source.near)
    assert guest.call("guest-ping", {}, Deadline(5)) == 1
    guest.attach(destination.near)
    assert guest.call("guest-ping", {}, Deadline(5)) == 2
    assert destination.seen == ["guest-sync-delimited", "guest-ping"]


def test_attaching_anew_ends_a_call_that_waits_on_the_old_channel(agents: Agents) -> None:
    reached = threading.Event()

    def never(_command: str, _args: dict[str, Any]) -> Any:
        reached.set()

    guest = GuestAgent("g1", agents(never).near)
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            guest.call("guest-ping", {}, Deadline(20))
        except ReachError as error:
            failures.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert reached.wait(5)
    guest.attach(agents(lambda _c, _a: {"return": "new"}).near)
    waiter.join(5)
    assert "its channel was closed" in str(failures[0])
    assert guest.call("guest-ping", {}, Deadline(5)) == "new"


def test_without_a_channel_the_guest_is_said_to_be_out_of_reach() -> None:
    with pytest.raises(ReachError, match="guest g1: its channel is not connected"):
        GuestAgent("g1").call("guest-ping", {}, Deadline(1))


def shell(polls: int, final: dict[str, Any]) -> Answer:
    left = [polls]

    def answer(command: str, args: dict[str, Any]) -> Any:
        if command == "guest-exec":
            assert args["path"] == "ip"
            assert args["arg"] == ["link"]
            return {"return": {"pid": 7}}
        assert args == {"pid": 7}
        left[0] -= 1
        return {"return": final if left[0] < 0 else {"exited": False}}

    return answer


def test_a_command_is_polled_until_it_has_ended(agents: Agents) -> None:
    final = {"exited": True, "exitcode": 0, "out-data": b64(b"1: lo\n"), "err-data": b64(b"w")}
    fake = agents(shell(3, final))
    done = GuestMachine(GuestAgent("g1", fake.near)).run(["ip", "link"])
    assert (done.status, done.stdout, done.stderr) == (0, "1: lo\n", "w")
    assert fake.seen.count("guest-exec-status") == 4


def test_a_command_that_fails_is_quoted(agents: Agents) -> None:
    final = {"exited": True, "exitcode": 2, "err-data": b64(b"no such device\n")}
    machine = GuestMachine(GuestAgent("g1", agents(shell(0, final)).near))
    with pytest.raises(CommandFailed) as caught:
        machine.run(["ip", "link"])
    assert str(caught.value) == "guest g1: `ip link` ended with status 2\n    no such device"


def test_a_command_that_a_signal_ended_has_a_negative_status(agents: Agents) -> None:
    fake = agents(shell(0, {"exited": True, "signal": 9}))
    assert GuestMachine(GuestAgent("g1", fake.near)).run(["ip", "link"], check=False).status == -9


def test_a_command_that_does_not_end_is_named_with_its_pid(agents: Agents) -> None:
    machine = GuestMachine(GuestAgent("g1", agents(shell(10_000, {})).near))
    with pytest.raises(DeadlineExceeded, match=r"end of `ip link`.*last seen: pid 7 still runs"):
        machine.run(["ip", "link"], timeout=0.3)


def test_files_are_read_and_written_in_pieces(agents: Agents) -> None:
    content = bytearray(b"x" * 40_000)
    written = bytearray()
    place = [0]

    def files(command: str, args: dict[str, Any]) -> Any:
        if command == "guest-file-open":
            return {"return": 3}
        if command == "guest-file-read":
            piece = bytes(content[place[0] : place[0] + args["count"]])
            place[0] += len(piece)
            return {"return": {"buf-b64": b64(piece), "eof": place[0] >= len(content)}}
        if command == "guest-file-write":
            piece = base64.b64decode(args["buf-b64"])[:20_000]  # a short write
            written.extend(piece)
            return {"return": {"count": len(piece)}}
        return {"return": {}}

    fake = agents(files)
    machine = GuestMachine(GuestAgent("g1", fake.near))
    assert machine.read_bytes("/f") == content
    machine.write_file("/f", b"y" * 50_000)
    assert written == b"y" * 50_000
    assert fake.seen.count("guest-file-close") == 2
