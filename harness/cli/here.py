"""``images`` and ``doctor``: what this machine has, and what it can do."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from harness.errors import EXIT_LAB, EXIT_PASSED, InputError
from harness.images import DEFAULTS, Entry, Store
from harness.lab.doctor import examine

_DIGITS = 6


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def images(args: argparse.Namespace) -> int:
    store = Store()
    actions = {"build": _build, "list": _list, "verify": _verify, "gc": _gc, "remove": _remove}
    return actions[args.action](store, args)


def _build(store: Store, args: argparse.Namespace) -> int:
    for name in args.names or (store.recipes() if args.all else DEFAULTS):
        store.ensure(name, on=args.kernel, progress=_say)
    store.tiny_guest(progress=_say)
    for path in args.warm:
        _warm(store, path)
    return EXIT_PASSED


def _warm(store: Store, path: Path) -> None:
    """Make the saved states that a case or a topology needs: bring its labs up once."""
    from harness.case import check_case, looks_like_case
    from harness.lab import Lab, LabImages, Progress
    from harness.observe import FactLog
    from harness.plan import make_plan
    from harness.topology import load

    if looks_like_case(path):
        every = check_case(path)
        topologies = [bound.topology for bound in every if bound.boot == "warm"]
        if not topologies:
            _say(f"{path}: boots, and needs no saved state")
    else:
        topologies = [load(path)]
    for topology in topologies:
        with (
            tempfile.TemporaryDirectory(prefix="harness-warm-") as logs,
            Lab(
                make_plan(topology),
                LabImages(store, _say),
                FactLog(None),
                logs=Path(logs),
                progress=Progress(sys.stderr),
                name=f"warm-{os.getpid()}",
            ) as lab,
        ):
            lab.up()


def _list(store: Store, args: argparse.Namespace) -> int:
    now = time.time()
    print(
        f"{'KIND':<9} {'NAME':<16} {'DIGEST':<16} {'MiB':>5} {'AGE':>5} {'USED':>5}  VERSION, FROM"
    )
    total = 0
    for entry in _named(store, args.names):
        made = entry.manifest
        total += made.size
        age = _ago(now - made.made_at) if made.made_at else "?"
        print(f"{made.kind:<9} {made.name:<16} {made.digest[:16]} {made.size >> 20:>5} "
              f"{age:>5} {_ago(now - entry.used_at):>5}  {made.made.version}, "
              f"{made.origin or 'an earlier harness'}")  # fmt: skip
    print(f"{total >> 20} MiB in {store.root}")
    return EXIT_PASSED


def _verify(store: Store, args: argparse.Namespace) -> int:
    status = EXIT_PASSED
    for entry in _named(store, args.names):
        what = f"{entry.manifest.kind} {entry.manifest.name} {entry.manifest.digest[:16]}"
        damage = store.damage(entry)
        # Things of an earlier harness have no list of their contents.
        fine = "ok" if entry.manifest.contents else "ok as far as sizes tell"
        print(f"{what}: {'damaged' if damage else fine}", flush=True)
        for line in damage[:8]:
            print(f"    {line}")
        if damage:
            print(f"  hint: harness images remove {entry.manifest.name}; it is built again "
                  "when it is needed")  # fmt: skip
            status = EXIT_LAB
    return status


def _gc(store: Store, args: argparse.Namespace) -> int:
    freed = 0
    for doomed in store.stale(unused_days=args.days):
        made = doomed.entry.manifest
        freed += made.size
        print(f"{'would remove' if args.dry_run else 'removing'} {made.kind} {made.name} "
              f"{made.digest[:16]} ({made.size >> 20} MiB): {doomed.why}")  # fmt: skip
        if not args.dry_run:
            store.remove(doomed.entry)
    if not args.dry_run:
        freed += store.remove_packages(unused_days=args.days)
    print(f"{freed >> 20} MiB {'would be' if args.dry_run else 'are'} free")
    return EXIT_PASSED


def _remove(store: Store, args: argparse.Namespace) -> int:
    if not args.names:
        raise InputError("images remove: say which, by name or digest", hint="harness images list")
    for entry in _named(store, args.names):
        print(f"removing {entry.manifest.kind} {entry.manifest.name} {entry.manifest.digest[:16]}")
        store.remove(entry)
    return EXIT_PASSED


def _named(store: Store, names: list[str]) -> list[Entry]:
    """What the store has under these names or beginnings of digests; all if none is given."""
    entries = store.list()
    chosen: list[Entry] = []
    for name in names:
        found = [
            entry
            for entry in entries
            if entry.manifest.name == name
            or (len(name) >= _DIGITS and entry.manifest.digest.startswith(name))
        ]
        if not found:
            raise InputError(
                f"the store has no image {name!r}", hint="harness images list shows what it has"
            )
        chosen += found
    return chosen if names else list(entries)


def _ago(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def doctor(_args: argparse.Namespace) -> int:
    lacking = False
    for check in examine(Store()):
        print(f"{check.state:<8} {check.what}: {check.found}", flush=True)
        if check.hint:
            print(f"         hint: {check.hint}")
        lacking = lacking or check.state == "lacking"
    return EXIT_LAB if lacking else EXIT_PASSED
