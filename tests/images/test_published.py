"""What a suite has today, in the order that dpkg has, and bisected."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from harness.bisect import RunOnce, Version
from harness.cli import bisect_versions, main
from harness.errors import InputError
from harness.images import Store, load_recipe
from harness.images.published import published, version_key
from harness.images.recipe import ToolchainRecipe
from tests.bisect.repositories import CASE
from tests.bisect.standin import ending
from tests.images.archive import Archive

# The oldest first.
SORTED = (
    "1.0~rc1-1", "1.0", "1.0-1~bpo12+1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-10", "1.0a-1",
    "1.0+ds-1", "1.10-1", "1.10.2-1", "6.12.94-1", "7.2+dfsg-7", "1:7.2+dfsg-7+deb12u9",
    "1:7.2+dfsg-7+deb12u18", "1:7.2+dfsg-7+deb12u18+b3", "1:10.0.2+ds-2",
    "1:10.0.13+ds-0+deb13u1", "1:11.1.0~rc2+ds-1", "1:11.1.0+ds-1~bpo13+1", "1:11.1.0+ds-1",
)  # fmt: skip


def test_versions_are_in_the_order_that_dpkg_has() -> None:
    for low, high in pairwise(SORTED):
        told = subprocess.run(["dpkg", "--compare-versions", low, "lt", high], check=False)
        assert told.returncode == 0, f"dpkg: {low} is not before {high}"
    assert [*map(version_key, SORTED)] == sorted(map(version_key, SORTED))


@pytest.fixture
def qemus(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Versions of QEMU that the suite has, the oldest first."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    versions = ("1:9.2-1", "1:10.0~rc1-1", "1:10.0-1", "1:10.0-1+b2", "1:10.1-1")
    for version in sorted(versions, reverse=True):
        archive.add("qemu-system-x86", {"usr/bin/qemu": b""}, version=version)
    archive.publish()
    return versions


def test_the_versions_of_a_suite_come_in_order_each_with_a_recipe_for_it(
    qemus: tuple[str, ...], tmp_path: Path
) -> None:
    lines: list[str] = []
    found = published(Store(), "toolchain", ["trixie"], lines.append)
    assert tuple(one.version for one in found) == qemus
    path = tmp_path / "qemu.yaml"
    path.write_text(found[3].recipe(), encoding="utf-8")
    recipe = load_recipe(path)
    assert isinstance(recipe, ToolchainRecipe)
    assert (recipe.suite, recipe.version) == ("trixie", "1:10.0-1+b2")
    with pytest.raises(InputError, match=r"no version of linux-image-amd64 is in trixie"):
        published(Store(), "kernel", ["trixie"], lines.append)


def test_the_first_bad_version_of_a_suite_is_found(
    qemus: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def prepare(_axis: str, version: Version, *_more: object) -> RunOnce:
        recipe = load_recipe(Path(version.reference))
        assert isinstance(recipe, ToolchainRecipe)
        word = "good" if qemus.index(recipe.version or "") < 2 else "bad"
        return lambda place: ending(word, place)

    monkeypatch.setattr(bisect_versions, "PREPARE", prepare)
    words = ("bisect", str(CASE), "--variant", "flat", "--suite-versions", "qemu")
    words = (*words, "--suite", "trixie", "--bisect-dir")
    assert main([*words, str(tmp_path / "all")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("1:10.0-1 is the first bad version\n")
    assert f"from good to bad: {', '.join(qemus)}\n" in err

    assert main([*words, str(tmp_path / "last"), "--good", qemus[1], "--bad", qemus[3]]) == 0
    result = json.loads((tmp_path / "last/result.json").read_text(encoding="utf-8"))
    assert result["first_bad"] == ["1:10.0-1"]
    assert result["last_good"] == ["1:10.0~rc1-1"]
    assert {one["revision"] for one in result["steps"]} == set(qemus[1:4])

    capsys.readouterr()
    assert main([*words, str(tmp_path / "none"), "--good", "1:8.0-1"]) == 2
    assert f"no suite has it; there is: {', '.join(qemus)}" in capsys.readouterr().err
