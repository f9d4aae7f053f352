"""The plugin, also for a checkout that is not installed; pytest's own for testing plugins; and
which tests wait to be asked for."""

from importlib.metadata import entry_points

import pytest

_PLUGIN = "harness.pytest_plugin"
_INSTALLED = any(point.value == _PLUGIN for point in entry_points(group="pytest11"))

# One plugin registered under two names is an error to pytest.
pytest_plugins = ["pytester"] if _INSTALLED else [_PLUGIN, "pytester"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Slow tests run when they are asked for by ``-m``."""
    if "slow" not in (config.option.markexpr or ""):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        if slow:
            config.hook.pytest_deselected(items=slow)
