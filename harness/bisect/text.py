"""The result of a bisection for a terminal. Decides nothing."""

from __future__ import annotations

from harness.bisect.record import Answer, BisectResult, Step

_SHORT = 12


def short(revision: str) -> str:
    """A commit in its short form; other names as they are."""
    is_commit = len(revision) >= 40 and set(revision) <= set("0123456789abcdef")
    return revision[:_SHORT] if is_commit else revision


def render(result: BisectResult) -> str:
    """The first bad one, why it is, and where the runs on both sides are; ends in a newline."""
    if len(result.first_bad) == 1:
        (found,) = result.first_bad
        lines = [f"{found} is the first bad {result.of}"]
    else:
        lines = [
            f"CANNOT TELL which is the first bad {result.of}: those before the bad one were "
            "skipped; it is one of"
        ]
        lines += [f"  {_named(one, result)}" for one in result.first_bad]
        found = next(
            (one.revision for one in result.steps
             if one.answer is Answer.BAD and one.revision in result.first_bad), "")  # fmt: skip
    bad = result.step_of(found)
    if bad is not None:
        lines.append(f"  {bad.title}")
        lines += [f"  fails: {one}" for one in bad.failed]
    lines += _side("bad ", (found,), result) if found else []
    lines += _side("good", result.last_good, result)
    lines += [
        f"  skipped: {short(one.revision)} {one.title}: {_first_line(one.reason)}"
        for one in result.steps
        if one.answer is Answer.SKIP
    ]
    counts = [
        f"{sum(one.answer is answer for one in result.steps)} {answer.value}"
        for answer in (Answer.GOOD, Answer.BAD, Answer.SKIP)
    ]
    lines.append(f"  {len(result.steps)} {result.of}s tried: {', '.join(counts)}; "
                 f"all is in {result.directory}")  # fmt: skip
    return "\n".join(lines) + "\n"


def _named(revision: str, result: BisectResult) -> str:
    step = result.step_of(revision)
    return f"{short(revision)} {step.title}" if step else short(revision)


def _side(word: str, revisions: tuple[str, ...], result: BisectResult) -> list[str]:
    lines: list[str] = []
    for revision in revisions:
        step = result.step_of(revision)
        where = [run.directory for run in step.runs] if step else []
        lines.append(f"  {word}: {_named(revision, result)}: "
                     + (", ".join(where) or "was not run"))  # fmt: skip
    return lines


def told(step: Step) -> str:
    """What became of a revision, in a line."""
    reason = "" if step.answer is Answer.GOOD else f": {_first_line(step.reason)}"
    return f"{short(step.revision)}: {step.answer.value}{reason}"


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
