import pytest

# pytester forgets the modules that a pytest inside of pytest has imported, and numpy cannot
# be imported twice; what was there before stays.
import harness.pytest_plugin.cases
import harness.pytest_plugin.lab  # noqa: F401
from harness.images.store import default_root
from tests.pytest_plugin.checkouts import ROOT

_IMAGES = default_root()


@pytest.fixture(autouse=True)
def _checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that start elsewhere, where the package may not be installed, and with
    the home directory that pytester gives them, where no images are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HARNESS_CACHE", str(_IMAGES))
