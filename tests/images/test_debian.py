"""apt's answers, read; and the real apt, against a mirror on loopback that has nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.errors import ImageError
from harness.images.debian import Package, Suite, parse_uris, prune, refused_by_mirror
from harness.images.reporter import Reporter

SHA = "ab" * 32
LISTING = f"""\
Reading package lists...
The following NEW packages will be installed:
  qemu-utils seabios
'http://m.example/pool/main/q/qemu-utils_10.0.13%2bds-0_amd64.deb' \
qemu-utils_1%3a10.0.13+ds-0_amd64.deb 1234 SHA256:{SHA}
'http://m.example/pool/main/s/seabios_1.16.3-2_all.deb' seabios_1.16.3-2_all.deb 5 SHA256:{SHA}
"""


class Nothing(BaseHTTPRequestHandler):
    """A mirror without any suite."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def empty_mirror() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Nothing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/debian"
    server.shutdown()
    thread.join()
    server.server_close()


def suite(path: Path) -> Suite:
    return Suite("nosuchsuite", path, Reporter("toolchain qemu", lambda line: None))


def test_packages_are_read_with_their_epochs() -> None:
    assert list(parse_uris(LISTING)) == [
        Package("qemu-utils", "1:10.0.13+ds-0", "qemu-utils_1%3a10.0.13+ds-0_amd64.deb", 1234, SHA),
        Package("seabios", "1.16.3-2", "seabios_1.16.3-2_all.deb", 5, SHA),
    ]


def test_a_package_that_the_mirror_lacks_is_named_with_its_suite() -> None:
    error = ImageError(
        "suite sid: apt-get ended with status 100",
        evidence=[
            "E: Failed to fetch http://m.example/pool/q/qemu-utils_11.1%2bds-1_amd64.deb"
            "  404  Not Found [IP: 192.0.2.1 80]",
            "E: Unable to fetch some archives",
        ],
    )

    told = refused_by_mirror("sid", error)

    assert told.message == (
        "suite sid: qemu-utils_11.1+ds-1_amd64.deb is in the index, and the mirror answers: "
        "404  Not Found [IP: 192.0.2.1 80]"
    )
    assert told.evidence == error.evidence
    assert "HARNESS_DEBIAN_MIRROR" in told.hint


def test_another_failure_of_a_download_stays_as_it_is() -> None:
    error = ImageError("apt-get ended with status 100", evidence=["E: something else"])

    assert refused_by_mirror("sid", error) is error


def test_a_suite_that_no_mirror_has_is_named(
    tmp_path: Path, empty_mirror: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DEBIAN_MIRROR", empty_mirror)

    with pytest.raises(ImageError) as caught:
        suite(tmp_path).resolve(["qemu-system-x86"])

    assert "suite nosuchsuite: no index could be read" in caught.value.message
    assert any("does not have a Release file" in line for line in caught.value.evidence)


def test_pruning_removes_files_directories_and_links_but_not_what_links_mean(
    tmp_path: Path,
) -> None:
    for name in ("doc/a", "doc/b", "keep/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link").symlink_to("keep")

    prune(tmp_path, ["doc", "li*", "none/*"])

    assert sorted(path.name for path in tmp_path.iterdir()) == ["keep"]
    assert (tmp_path / "keep/c").exists()
