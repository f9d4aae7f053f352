"""The plugin, also for a checkout that is not installed; and pytest's own for testing plugins."""

from importlib.metadata import entry_points

_PLUGIN = "harness.pytest_plugin"
_INSTALLED = any(point.value == _PLUGIN for point in entry_points(group="pytest11"))

# One plugin registered under two names is an error to pytest.
pytest_plugins = ["pytester"] if _INSTALLED else [_PLUGIN, "pytester"]
