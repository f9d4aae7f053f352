"""A QEMU that refuses to start: the error names it, its machine type and what it said."""

from __future__ import annotations

import pytest

from harness.errors import VmExited
from harness.lab.refusal import machine_of, refused

ARGV = ("qemu-system-x86_64", "-nodefaults", "-machine", "pc-q35-99.9,accel=tcg", "-m", "64M")


@pytest.mark.parametrize(
    "line",
    [
        'qemu-system-x86_64: unsupported machine type: "pc-q35-99.9"',
        'qemu-system-x86_64: unsupported machine type "pc-q35-99.9"',
    ],
)
def test_an_unknown_machine_type_is_told_with_host_version_and_what_to_do(line: str) -> None:
    words = (line, "Use -machine help to list supported machines")
    error = VmExited("g1 on beta: QEMU ended with status 1 while starting", evidence=words)

    told = refused(error, "g1 on beta", version="10.0.13", recipe="qemu-10.0", argv=ARGV)

    assert told.message == (
        "g1 on beta: QEMU 10.0.13 (recipe 'qemu-10.0') has no machine type 'pc-q35-99.9'"
    )
    assert told.evidence == words
    assert told.hint.startswith("pin one that the QEMU of every host has")


def test_another_refusal_keeps_its_words_and_says_which_qemu() -> None:
    error = VmExited("g1 on beta: QEMU ended with status 1 while starting", hint="h", evidence="e")

    told = refused(error, "g1 on beta", version="7.2.22", recipe="old", argv=ARGV)

    assert told.message == (
        "g1 on beta: QEMU ended with status 1 while starting; it is QEMU 7.2.22 (recipe 'old'), "
        "machine type 'pc-q35-99.9'"
    )
    assert (told.hint, told.evidence) == ("h", ("e",))


@pytest.mark.parametrize(
    ("argv", "machine"),
    [(ARGV, "pc-q35-99.9"), (("-M", "type=q35"), "q35"), (("-m", "64M"), ""), ((), "")],
)
def test_the_machine_type_is_read_from_the_command_line(
    argv: tuple[str, ...], machine: str
) -> None:
    assert machine_of(argv) == machine
