import pytest

# pytester forgets the modules that a pytest inside of pytest has imported, and numpy cannot
# be imported twice; what was there before stays.
import harness.pytest_plugin.cases
import harness.pytest_plugin.lab  # noqa: F401
from tests.pytest_plugin.checkouts import ROOT


@pytest.fixture(autouse=True)
def _checkout_is_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """For processes that start elsewhere, where the package is not installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
