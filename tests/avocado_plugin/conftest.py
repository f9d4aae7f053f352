import pytest

from harness.images.store import default_root
from tests.avocado_plugin.places import ROOT

_IMAGES = default_root()


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a pytest that starts elsewhere, where the package may not be installed, and with
    the home directory that pytester gives it, where no images are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HARNESS_CACHE", str(_IMAGES))
