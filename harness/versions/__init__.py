"""What differs between versions of QEMU, in one place, with the evidence for it.

What a QEMU can tell is asked (``words``: its `query-qmp-schema`); what it cannot tell stands
in a table (``grammar``). A QEMU that is newer than the table, or patched, is treated by what
it says of itself.

Not here: asking (``vm``), judging (``verdict``). Neighbours: ``record`` keeps the words with a
run, so that its verdict can be recomputed; imports nothing of the harness.
"""

from harness.versions.grammar import (
    CHANGES,
    NEWEST,
    OLDEST,
    TERMINAL,
    Automaton,
    Change,
    Grammar,
    Version,
    grammar_of,
    parse_version,
)
from harness.versions.words import QemuWords, words_of_schema

__all__ = [
    "CHANGES",
    "NEWEST",
    "OLDEST",
    "TERMINAL",
    "Automaton",
    "Change",
    "Grammar",
    "QemuWords",
    "Version",
    "grammar_of",
    "parse_version",
    "words_of_schema",
]
