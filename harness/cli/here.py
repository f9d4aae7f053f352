"""``images`` and ``doctor``: what this machine has, and what it can do."""

from __future__ import annotations

import argparse
import sys

from harness.errors import EXIT_LAB, EXIT_PASSED
from harness.images import Store
from harness.lab.doctor import examine


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def images(args: argparse.Namespace) -> int:
    store = Store()
    if args.action == "build":
        for name in args.names or store.recipes():
            store.ensure(name, progress=_say)
        store.tiny_guest(progress=_say)
        return EXIT_PASSED
    if args.action == "list":
        for entry in store.list():
            made = entry.manifest
            print(f"{made.kind:<10} {made.name:<12} {made.digest[:16]} "
                  f"{made.size >> 20:>5} MiB  {made.made.version}")  # fmt: skip
        return EXIT_PASSED
    for entry in store.stale():
        print(f"removing {entry.manifest.kind} {entry.manifest.name} {entry.manifest.digest[:16]}")
        store.remove(entry)
    return EXIT_PASSED


def doctor(_args: argparse.Namespace) -> int:
    lacking = False
    for check in examine(Store()):
        print(f"{check.state:<8} {check.what}: {check.found}", flush=True)
        if check.hint:
            print(f"         hint: {check.hint}")
        lacking = lacking or check.state == "lacking"
    return EXIT_LAB if lacking else EXIT_PASSED
