"""``harness images``: what it prints, what it removes, and how it ends."""

from __future__ import annotations

import os
import re
import time
from functools import partial
from pathlib import Path

import pytest

from harness.cli import main
from harness.images import Entry, mirror
from harness.images.cache import Cache, Key, Made
from harness.images.reporter import Reporter

OLD = "abcdef12" * 8


def build(into: Path, report: Reporter, *, content: str) -> Made:
    (into / "content").write_text(content)
    return Made(version="10.0.13", facts={"release": "6.12"})


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """A store with one thing that no recipe gives, last used yesterday."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    entry = Cache(tmp_path / "cache").obtain(
        Key("toolchain", "qemu", OLD, "recipe qemu"),
        partial(build, content="x" * (3 << 20)),
        lambda line: None,
    )
    then = time.time() - 86400
    os.utime(entry.path / "manifest.json", (then, then))
    return entry


def test_list_tells_size_age_last_use_and_what_made_it(
    old: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images", "list"]) == 0

    head, row, total = capsys.readouterr().out.splitlines()
    assert head.split() == ["KIND", "NAME", "DIGEST", "MiB", "AGE", "USED", "VERSION,", "FROM"]
    assert re.fullmatch(
        r"toolchain qemu +abcdef12abcdef12 +3 +\ds +1d +10\.0\.13, recipe qemu", row
    )
    assert total.startswith("3 MiB in ")


def test_verify_ends_with_3_and_tells_what_is_damaged(
    old: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images", "verify"]) == 0
    assert capsys.readouterr().out == "toolchain qemu abcdef12abcdef12: ok\n"
    (old.path / "content").write_text("y" * (3 << 20))

    assert main(["images", "verify", "qemu"]) == 3

    assert capsys.readouterr().out.splitlines() == [
        "toolchain qemu abcdef12abcdef12: damaged",
        "    content: is not what it was",
        "  hint: harness images remove qemu; it is built again when it is needed",
    ]


def test_gc_shows_what_it_would_remove_and_removes_it_only_without_dry_run(
    old: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["images", "gc", "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "would remove toolchain qemu abcdef12abcdef12 (3 MiB): no recipe gives it today",
        "3 MiB would be free",
    ]
    assert old.path.exists()

    assert main(["images", "gc"]) == 0

    assert capsys.readouterr().out.splitlines()[0].startswith("removing toolchain qemu abcdef12")
    assert not old.path.exists()


@pytest.mark.parametrize("name", ["qemu", "abcdef"])
def test_remove_takes_a_name_or_the_beginning_of_a_digest(old: Entry, name: str) -> None:
    assert main(["images", "remove", name]) == 0

    assert not old.path.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["remove"], "images remove: say which, by name or digest"),
        (["remove", "qemuu"], "the store has no image 'qemuu'"),
        (["verify", "abcd"], "the store has no image 'abcd'"),
        (["build", "qemuu"], "there is no image recipe 'qemuu'"),
        (["build", "./nothing"], "./nothing: there is no "),
        (["build", "/etc"], "there is no qemu-system-x86_64 in it"),
        (["build", "guest", "--kernel", "qemu"], "is of kind toolchain (found), kind kernel is"),
    ],
)
def test_what_is_not_there_is_wrong_input(
    old: Entry, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["images", *words]) == 2

    assert message in capsys.readouterr().err
    assert old.path.exists()


def test_a_build_that_cannot_reach_the_archive_ends_with_3(
    old: Entry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mirror.ENVIRONMENT, "http://127.0.0.1:1/debian")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    assert main(["images", "build", "kernel-6.1"]) == 3

    said = capsys.readouterr().err
    assert "suite bookworm: no index could be read" in said
    assert "hint: check the network" in said
