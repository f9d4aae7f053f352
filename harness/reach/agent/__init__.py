"""The program that changes a machine: shipped as text, and the only one that does.

It runs on the machine (in a namespace here, or over ssh), talks JSON lines on its stdin and
stdout, and undoes all it made when told to, or when its stdin ends. It needs Python 3.9,
and pyroute2 (0.8 or 0.9) only once a netlink operation is asked for.

The modules beside this one are the program (``MODULES``); the harness does not import them.
Neighbours: ``machine`` is the typed client.
"""

from __future__ import annotations

import json
from importlib import resources

MODULES = ("core", "process", "links", "pci", "fdb", "kmsg", "frames", "program")
"""In the order of their imports; ``program`` holds ``main``."""

BOOTSTRAP = (
    "import json, sys, types\n"
    "for name, text in json.loads(sys.stdin.buffer.readline()):\n"
    "    module = sys.modules[name] = types.ModuleType(name)\n"
    "    exec(compile(text, name, 'exec'), module.__dict__)\n"
    "    parent, _, last = name.rpartition('.')\n"
    "    if parent: setattr(sys.modules[parent], last, module)\n"
    "sys.modules['harness.reach.agent.program'].main()\n"
)
"""What ``python3 -I -c`` is given. The modules follow as the first line of its stdin, so that
a long-lived agent needs no file on the machine and works where nothing can be written."""


def source() -> list[list[str]]:
    """The agent's modules, name and text, in the order of their imports."""
    package = resources.files(__name__)
    # The packages around the agent stand there empty, so that its imports read the same.
    modules = [["harness", ""], ["harness.reach", ""], [__name__, ""]]
    modules += [
        [f"{__name__}.{name}", (package / f"{name}.py").read_text(encoding="utf-8")]
        for name in MODULES
    ]
    return modules


def source_line() -> bytes:
    """The agent's modules as the one line that BOOTSTRAP reads."""
    return json.dumps(source()).encode() + b"\n"
