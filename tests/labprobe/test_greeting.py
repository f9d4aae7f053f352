"""A guest greets the other end of its streams before they start, and is left as it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from harness.errors import LabError
from harness.lab import Lab
from harness.observe import FactLog, Note
from harness.scenario.ends import End
from harness.scenario.greeting import greet
from harness.traffic.client import Capture
from harness.traffic.pcapng import PcapngFile
from tests.labprobe.guests import Guest
from tests.traffic.namespaces import Side


@dataclass(frozen=True)
class _Lab:
    """As much of a lab as a greeting needs."""

    guests: dict[str, Guest]
    facts: FactLog


def ends(sides: tuple[Side, Side], *, six: bool = False) -> tuple[End, End]:
    """A stream's, from the namespace to the guest."""
    client, g1 = sides
    return (
        End("client", "namespace", "va", client.mac, client.address6 if six else client.address),
        End("g1", "guest", "net1", g1.mac, g1.address6 if six else g1.address),
    )


def echo_requests(path: Path, sender: Side) -> int:
    """Frames with an ICMP or ICMPv6 echo request from ``sender``."""
    mac = bytes.fromhex(sender.mac.replace(":", ""))
    with PcapngFile(path) as file:
        frames = [bytes(one.data) for one in file.frames()]
    mine = [frame for frame in frames if frame[6:12] == mac]
    return sum(
        (frame[12:14], frame[23], frame[34]) == (b"\x08\x00", 1, 8)
        or (frame[12:14], frame[20], frame[54]) == (b"\x86\xdd", 58, 128)
        for frame in mine
        if len(frame) > 54
    )


@pytest.mark.parametrize("six", [False, True], ids=["ipv4", "ipv6"])
def test_the_guest_speaks_once_whatever_the_number_of_its_streams(
    one: Guest, pair: tuple[Side, Side], tmp_path: Path, six: bool
) -> None:
    lab = cast(Lab, _Lab({"g1": one}, one.log))
    capture = Capture.start(pair[0].spawn, interface="va", path=tmp_path / "c", promiscuous=True)

    greet(lab, [ends(pair, six=six), ends(pair, six=six)])

    # What comes after the greeting's own packets: the capture has them by then.
    one.link.start_sender(1, ends(pair, six=six)[0].address, 5000, rate=1000, size=128, count=20)
    one.link.wait_flowing(1, 10)
    capture.stop()
    assert echo_requests(tmp_path / "c", pair[1]) == 1
    assert [fact for fact in one.log.facts if isinstance(fact, Note)] == []


def test_a_guest_that_only_sends_greets_nobody(one: Guest, pair: tuple[Side, Side]) -> None:
    source, target = ends(pair)
    one.link.close()  # whatever is asked of it now is noted

    greet(cast(Lab, _Lab({"g1": one}, one.log)), [(target, source)])
    assert [fact for fact in one.log.facts if isinstance(fact, Note)] == []

    greet(cast(Lab, _Lab({"g1": one}, one.log)), [(source, target)])
    (note,) = [fact for fact in one.log.facts if isinstance(fact, Note)]
    assert note.text.startswith("g1 did not greet client: ")


def test_a_streams_id_is_free_again_once_it_is_forgotten(one: Guest) -> None:
    one.link.start_sink(1, 5000)
    with pytest.raises(LabError, match="exists already"):
        one.link.start_sink(1, 5000)

    one.link.forget(1)

    one.link.start_sink(1, 5000)
    with pytest.raises(LabError, match="no such stream"):
        one.link.forget(2)
