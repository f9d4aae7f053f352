"""Judge what a run left in QEMU and in the guest's kernel: devices, netdevs, complaints.

Neighbours: ``judge`` makes findings of the judgements; the vocabulary is ``Expect``'s.
"""

from __future__ import annotations

import re
from collections import Counter

from harness.observe import Inventory, KernelMessage, LinkState, Snapshot
from harness.verdict.evidence import Evidence
from harness.verdict.migrations import judge_steps
from harness.verdict.model import Judged, Outcome
from harness.verdict.moments import seconds

_COMPLAINTS = re.compile(
    r"\bWARNING:|\bBUG:|\bOops\b|\bCall Trace:|general protection fault|kernel panic"
    r"|INFO: task .* blocked|rcu: INFO|soft lockup|hung_task|refcount_t:"
    r"|unregister_netdevice: waiting|NETDEV WATCHDOG|possible circular locking",
    re.IGNORECASE,
)
"""What the kernel prints when something is wrong with it (lib/bug.c, kernel/hung_task.c,
kernel/rcu, net/core/dev.c, net/sched/sch_generic.c, kernel/locking/lockdep.c)."""
_CRITICAL = 2
_ORDINARY = "reboot: "
"""A kernel that goes down says so as an emergency."""


def judge_all_steps(evidence: Evidence) -> Judged:
    """Whether every step came to its wanted end."""
    wrong = judge_steps(evidence)
    for outcome in (Outcome.FAILED, Outcome.CANNOT_TELL):
        reasons = [judged.reason for _, judged in wrong if judged.outcome is outcome]
        if reasons:
            return Judged(outcome, "; ".join(reasons))
    count = len(evidence.bound.placed)
    if not count:
        return Judged(Outcome.CANNOT_TELL, "the case has no step")
    return Judged(Outcome.PASSED, f"all {count} did")


def judge_leaks(evidence: Evidence, guest: str) -> Judged:
    """Whether QEMU and the guest have at the end what they had at the start, and no more."""
    found = [fact for fact in evidence.facts if isinstance(fact, Inventory) and fact.guest == guest]
    start = next((fact for fact in found if fact.moment == "start"), None)
    end = next((fact for fact in found if fact.moment == "end"), None)
    first, last = evidence.snapshot(guest, "start"), evidence.snapshot(guest, "end")
    if start is None or end is None or first is None or last is None:
        return Judged(Outcome.CANNOT_TELL, f"{guest} was not asked at the start and at the end")
    wrong = [
        *_more("device", start.devices, end.devices),
        *_more("netdev of QEMU", start.netdevs, end.netdevs),
        *_more("netdev in the guest", _kinds(first), _kinds(last)),
    ]
    if end.objects > start.objects:
        wrong.append(f"QEMU has {end.objects} objects, and had {start.objects}")
    at = f"at the end, {seconds(end.t_ns, evidence.zero_ns)}"
    if wrong:
        return Judged(Outcome.FAILED, f"{at}: " + "; ".join(wrong))
    return Judged(
        Outcome.PASSED,
        f"{at}: {len(end.devices)} devices, {len(end.netdevs)} netdevs and {end.objects} objects "
        f"of QEMU, {len(last.links)} netdevs in the guest, as at the start",
    )


def _kinds(snapshot: Snapshot) -> tuple[str, ...]:
    def kind(link: LinkState) -> str:
        return f"{link.driver or 'driver unknown'} {link.mac}"

    return tuple(kind(link) for link in snapshot.links)


def _more(what: str, before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """What there is more of, and what is missing: both are a difference that nobody asked for."""
    extra, gone = Counter(after) - Counter(before), Counter(before) - Counter(after)
    told = [f"{count} more {what} {name}" for name, count in sorted(extra.items())]
    return told + [f"{what} {name} is missing" for name in sorted(gone)]


def judge_kernel(evidence: Evidence, guest: str) -> Judged:
    """Whether the guest's kernel complained of anything from the start on."""
    start = evidence.snapshot(guest, "start")
    messages = [
        fact for fact in evidence.facts if isinstance(fact, KernelMessage) and fact.guest == guest
    ]
    if not messages:
        return Judged(Outcome.CANNOT_TELL, f"no message of {guest}'s kernel was recorded")
    since = start.t_ns if start else 0
    later = [fact for fact in messages if fact.t_ns + fact.err_ns >= since]
    for fact in later:
        critical = fact.level <= _CRITICAL and not fact.text.startswith(_ORDINARY)
        if critical or _COMPLAINTS.search(fact.text):
            at = seconds(fact.t_ns, evidence.zero_ns)
            return Judged(Outcome.FAILED, f"{guest}'s kernel at {at}: {fact.text}")
    return Judged(Outcome.PASSED, f"{len(later)} messages of {guest}'s kernel, no complaint")
