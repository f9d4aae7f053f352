"""What a store has can be checked, and what nobody needs goes."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest

from harness.images import Entry, Store, load_recipe
from harness.images.cache import Cache, Key, Made
from harness.images.reporter import Reporter
from harness.images.store import artifact_digest

OLD = "99" * 32
DAY = 86400.0


def build(facts: dict[str, str], into: Path, report: Reporter) -> Made:
    (into / "root").mkdir()
    (into / "root/content").write_text("whole")
    (into / "root/link").symlink_to("content")
    return Made(version="1", facts={"release": "6.12", **facts})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    recipes = tmp_path / "images"
    recipes.mkdir()
    (recipes / "kernel.yaml").write_text("kind: kernel\nsuite: trixie\n")
    return Store(tmp_path / "cache", recipes=recipes)


def keep(
    store: Store,
    kind: str,
    digest: str,
    *,
    origin: str = "recipe kernel",
    unused_s: float = 7200,
    **facts: str,
) -> Entry:
    """Put something into the store that was last used some time ago."""
    cache = Cache(store.root)
    entry = cache.obtain(
        Key(kind, "kernel", digest, origin), partial(build, facts), lambda line: None
    )
    then = time.time() - unused_s
    os.utime(entry.path / "manifest.json", (then, then))
    return entry


def current(store: Store, tmp_path: Path) -> str:
    return artifact_digest(load_recipe(tmp_path / "images/kernel.yaml"), tmp_path / "images")


def going(store: Store) -> dict[str, str]:
    return {doomed.entry.path.parent.name: doomed.why for doomed in store.stale()}


def test_what_a_recipe_gives_no_more_goes_with_the_disks_that_hold_it(
    store: Store, tmp_path: Path
) -> None:
    keep(store, "kernel", OLD)
    keep(store, "disk", "aa" * 32, holds=OLD)

    assert going(store) == {"kernel": "no recipe gives it today", "disk": "what it holds is gone"}
    for doomed in store.stale():
        store.remove(doomed.entry)
    assert store.list() == ()


def test_what_a_recipe_gives_stays_with_the_disks_that_hold_it(
    store: Store, tmp_path: Path
) -> None:
    keep(store, "kernel", current(store, tmp_path))
    keep(store, "disk", "aa" * 32, holds=current(store, tmp_path))

    assert going(store) == {}


def test_what_was_made_from_a_users_own_stays_until_nobody_uses_it_for_long(
    store: Store,
) -> None:
    keep(store, "toolchain", "aa" * 32, origin="path:/home/me/qemu/build", unused_s=29 * DAY)
    assert going(store) == {}

    keep(store, "toolchain", "aa" * 32, origin="path:/home/me/qemu/build", unused_s=31 * DAY)
    assert going(store) == {"toolchain": "not used for 31 days"}


def test_even_what_a_recipe_gives_goes_when_nobody_uses_it_for_long(
    store: Store, tmp_path: Path
) -> None:
    keep(store, "kernel", current(store, tmp_path), unused_s=40 * DAY)

    assert going(store) == {"kernel": "not used for 40 days"}


def test_what_was_used_within_an_hour_stays(store: Store) -> None:
    keep(store, "kernel", OLD, unused_s=600)

    assert going(store) == {}


def test_what_a_process_uses_stays(store: Store) -> None:
    entry = keep(store, "kernel", OLD)
    with (entry.path / "root/content").open() as file:
        user = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                pass_fds=[file.fileno()])  # fmt: skip
    try:
        assert going(store) == {}
    finally:
        user.communicate(timeout=20)
    assert going(store) != {}


def test_what_other_rooms_keep_is_not_touched(store: Store) -> None:
    keep(store, "trial", OLD, unused_s=400 * DAY)

    assert going(store) == {}


def test_using_a_thing_counts(store: Store) -> None:
    keep(store, "kernel", OLD, unused_s=40 * DAY)

    Cache(store.root).obtain(Key("kernel", "kernel", OLD), partial(build, {}), lambda line: None)

    assert going(store) == {}


def test_a_thing_that_is_as_it_was_has_no_damage(store: Store) -> None:
    assert store.damage(keep(store, "kernel", OLD)) == ()


def _other_octet(root: Path) -> None:
    (root / "content").write_text("whale")


def _other_link(root: Path) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")


def _another_file(root: Path) -> None:
    (root / "new").write_text("")


def _no_file(root: Path) -> None:
    (root / "content").unlink()


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_other_octet, "root/content: is not what it was"),
        (_other_link, "root/link: does not point to content any more"),
        (_another_file, "root/new: was not there"),
        (_no_file, "root/content: is missing"),
    ],
)
def test_verifying_tells_every_kind_of_damage(store: Store, harm: object, told: str) -> None:
    entry = keep(store, "kernel", OLD)

    assert callable(harm)
    harm(entry.path / "root")

    assert store.damage(entry) == (told,)


def test_a_file_deep_in_a_thing_that_lost_octets_is_noticed_when_it_is_used(store: Store) -> None:
    entry = keep(store, "kernel", OLD)
    (entry.path / "root/content").write_text("who")
    lines: list[str] = []

    Cache(store.root).obtain(Key("kernel", "kernel", OLD), partial(build, {}), lines.append)

    assert any("damaged" in line for line in lines)
    assert (entry.path / "root/content").read_text() == "whole"


def test_downloads_that_no_build_needed_for_long_go(store: Store) -> None:
    archives = store.root / "packages/trixie/archives"
    archives.mkdir(parents=True)
    for name, days in (("new.deb", 2), ("old.deb", 40)):
        (archives / name).write_bytes(bytes(100))
        then = time.time() - days * DAY
        os.utime(archives / name, (then, then))

    assert store.remove_packages(unused_days=30) == 100
    assert [path.name for path in archives.iterdir()] == ["new.deb"]
