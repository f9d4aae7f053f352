"""Which archives are tried, from what apt says of this machine's sources."""

from __future__ import annotations

import pytest

from harness.images.mirror import candidates, debian_mirrors, network_settings

BOOKWORM = """\
http://security.example/debian-security|bookworm-security|Debian|Debian-Security
http://mirror.example/debian|bookworm-updates|Debian|Debian
http://mirror.example/debian|bookworm|Debian|Debian
http://other.example/debian|bookworm-backports|Debian|Debian Backports
https://vendor.example/node|nodistro|. nodistro|. nodistro
"""
NEVER_UPDATED = """\
http://security.example/debian-security|bookworm-security||
http://mirror.example/debian|bookworm||
"""
UBUNTU = """\
http://archive.example/ubuntu|noble|Ubuntu|Ubuntu
http://security.example/ubuntu|noble-security|Ubuntu|Ubuntu
"""


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (BOOKWORM, ("http://mirror.example/debian", "http://other.example/debian")),
        (NEVER_UPDATED, ("http://mirror.example/debian",)),
        (NEVER_UPDATED + BOOKWORM, ("http://mirror.example/debian", "http://other.example/debian")),
        (UBUNTU, ()),
        ("", ()),
        ("not what apt writes\n", ()),
        ("cdrom:[Debian 12]/|bookworm|Debian|Debian\n", ()),
    ],
    ids=["bookworm", "never updated", "both", "ubuntu", "nothing", "nonsense", "cdrom"],
)
def test_only_debian_archives_are_candidates(listing: str, expected: tuple[str, ...]) -> None:
    assert candidates(listing) == expected


def test_an_archive_that_calls_itself_debian_comes_before_an_unknown_one() -> None:
    listing = "http://unknown.example/d|x||\nhttp://mirror.example/debian|bookworm|Debian|Debian\n"

    assert candidates(listing) == ("http://mirror.example/debian", "http://unknown.example/d")


def test_the_environment_overrides_what_apt_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", "http://mine.example/debian/")

    assert debian_mirrors() == ("http://mine.example/debian",)


def test_only_what_reaches_a_mirror_is_kept_of_apts_configuration() -> None:
    dump = (
        'APT::Update::Post-Invoke:: "rm -rf /";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "1";\n'
        'Acquire::Retries "3";\n'
        'Dir::Etc::sourcelist "/etc/apt/sources.list";\n'
    )

    assert network_settings(dump) == (
        'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::Retries "3";\n'
    )
