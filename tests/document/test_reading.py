"""Any file at all becomes a document, or one clear problem."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from harness.document import MAX_BYTES, Document, Mark, dotted, parse, read
from harness.document.compose import compose
from harness.errors import ProblemsError

T = pathlib.Path("t.yaml")
ROOT = pathlib.Path(__file__).parents[2]


def refusal(content: bytes) -> str:
    with pytest.raises(ProblemsError) as caught:
        parse(content, T)
    return str(caught.value)


def bomb() -> bytes:
    """A billion laughs in a few hundred bytes."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "t.yaml:1:1: the file says nothing; wanted a mapping: `key: value` lines"),
        (b"# x\n", "t.yaml:1:1: the file says nothing; wanted a mapping: `key: value` lines"),
        (b"---\n", "t.yaml:1:1: the file says nothing; wanted a mapping: `key: value` lines"),
        (b"\n- a\n", "t.yaml:2:1: found a list, wanted a mapping: `key: value` lines"),
        (b"word", "t.yaml:1:1: found a single value, wanted a mapping: `key: value` lines"),
        (b"\x7fELF\x02\0\0", "t.yaml: this is a binary file; wanted YAML text in UTF-8"),
        (b"\xff\xfea\0", "t.yaml: this is a binary file; wanted YAML text in UTF-8"),
        (b"a: 1\nb: \xe9", "t.yaml:2:4: byte 0xe9 is not UTF-8; wanted YAML text in UTF-8"),
        (
            b"a: \x1b[0m",
            "t.yaml:1:4: the control character U+001B is not allowed in YAML "
            '(write it as an escape in double quotes, as in "\\x1b")',
        ),
        (
            b"a: b: c",
            "t.yaml:1:5: this is not YAML: mapping values are not allowed in this context "
            "(check the indentation, or put a value with ': ' in quotes)",
        ),
        (
            b"a:\n\tb: 1",
            "t.yaml:2:1: this is not YAML: while scanning for the next token found character "
            "that cannot start any token (YAML indents with spaces, never with tabs)",
        ),
        (
            b'a: 1\nb: "x\n\nc: 1\n',
            "t.yaml:2:4: this is not YAML: while scanning a quoted scalar found unexpected end "
            "of stream (a closing quote is missing)",
        ),
        (
            b"a: 1\n---\nb: 2\n",
            "t.yaml:2:1: a second document begins here ('---'); wanted one document a file",
        ),
        (
            b"a: &base {x: 1}\nb: *bsae",
            "t.yaml:2:4: the alias '*bsae' has no anchor '&bsae' before it (did you mean 'base'?)",
        ),
        (
            b"a: *b",
            "t.yaml:1:4: the alias '*b' has no anchor '&b' before it (no anchor is above it)",
        ),
        (b"a: &a [*a]", "t.yaml:1:8: the alias '*a' stands inside its own anchor '&a'"),
        (b"[" * 100_000, "t.yaml:1:41: nested more than 40 levels deep"),
        (
            b"? [a, b]\n: c",
            "t.yaml:1:3: a key is plain text (put a text with special signs in quotes)",
        ),
        (
            bomb(),
            "t.yaml:5:40: with its aliases written out this file has more than 50,000 values "
            "(an alias that holds aliases multiplies; a file of this kind has a few hundred)",
        ),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:60],
)
def test_content_that_is_no_document_gives_one_problem(content: bytes, said: str) -> None:
    assert refusal(content) == said


def test_a_long_list_without_aliases_is_refused_too() -> None:
    assert "more than 50,000 values" in refusal(b"a: [" + b"1," * 60_000 + b"]")


def test_an_alias_chain_cannot_nest_past_the_limit() -> None:
    lines = [b"a0: &a0 [x]"] + [b"a%d: &a%d [*a%d]" % (n, n, n - 1) for n in range(1, 100)]

    assert "nested more than 40 levels deep" in refusal(b"\n".join(lines))


def test_a_bomb_of_merge_keys_is_refused() -> None:
    lines = [b"a0: &a0 {x: 1}"]
    lines += [
        b"a%d: &a%d {<<: [%s]}" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 10)
    ]

    assert "more than 50,000 values" in refusal(b"\n".join(lines))


def test_a_bomb_is_refused_before_it_grows() -> None:
    start = time.perf_counter()
    refusal(bomb())

    assert time.perf_counter() - start < 0.5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: 2\na: 3", "t.yaml:3:1 a: this key was already given in line 1"
         " (keep one of them)"),
        (b"a: {b: [{c: 1, c: 2}]}", "t.yaml:1:16 a.b[0].c: this key was already given in line 1"
         " (keep one of them)"),
        (b"a: !!python/object:os.system x", "t.yaml:1:4 a: the tag '!!python/object:os.system'"
         " has no meaning here (remove it)"),
        (b"a: !!set {x}", "t.yaml:1:4 a: the tag '!!set' has no meaning here (remove it)"),
        (b"a: !foo [x]", "t.yaml:1:4 a: the tag '!foo' has no meaning here (remove it)"),
        (b"a: 0x_", "t.yaml:1:4 a: '0x_' is not a number (put text in quotes)"),
        (b"a: !!int x", "t.yaml:1:4 a: 'x' is not a number (put text in quotes)"),
        (b"a: !!bool x", "t.yaml:1:4 a: 'x' is not a switch (put text in quotes)"),
        (b"<<: 5", "t.yaml:1:5 <<: '<<' merges mappings only (write `<<: *name-of-a-mapping`)"),
        (b"a: &x {b: 1}\nc:\n  <<: *x\n  <<: *x", "t.yaml:4:3 c.<<: this key was already given"
         " in line 3 (write `<<: [*a, *b]` to merge two)"),
    ],
)  # fmt: skip
def test_what_does_not_stop_the_reading_is_kept_as_a_problem(content: bytes, said: str) -> None:
    assert [str(p) for p in parse(content, T).problems] == [said]


def test_a_number_too_long_for_python_is_a_problem() -> None:
    (problem,) = parse(b"a: " + b"9" * 5000, T).problems

    assert problem.message == f"'{'9' * 40}...' is not a number"


def test_files_that_cannot_be_read_give_one_problem(tmp_path: pathlib.Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "failover.yaml").write_text("a: 1")
    (tmp_path / "loop").symlink_to("loop")

    def said(name: str) -> str:
        with pytest.raises(ProblemsError) as caught:
            read(tmp_path / name)
        return str(caught.value).replace(str(tmp_path), "DIR")

    assert said("none") == "DIR/none: there is no such file"
    assert said("falover.yaml") == (
        "DIR/falover.yaml: there is no such file (did you mean 'DIR/failover.yaml'?)"
    )
    assert said(".") == "DIR: this is a directory; wanted a YAML file"
    assert said("fifo") == "DIR/fifo: this is not a regular file; wanted a YAML file"
    assert said("failover.yaml/x") == (
        "DIR/failover.yaml/x: there is no such file: a part of its path is not a directory"
    )
    assert said("loop").startswith("DIR/loop: this file cannot be read: Too many levels")
    assert said("nul\0") == "DIR/nul\0: this file cannot be read: embedded null byte"


def test_a_file_that_may_not_be_read_says_so(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "secret.yaml"
    path.write_text("a: 1")
    path.chmod(0)
    was_root = os.geteuid() == 0
    if was_root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(ProblemsError) as caught:
            read(path)
    finally:
        if was_root:
            os.seteuid(0)

    assert str(caught.value) == f"{path}: this file may not be read (check its permissions)"


def test_a_file_of_10_mb_is_refused_without_being_read_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    start = time.perf_counter()

    with pytest.raises(ProblemsError) as caught:
        read(path)

    assert str(caught.value) == (
        f"{path}: this file has 10.0 MB; wanted at most 1 MiB "
        "(is it the right file? a YAML file of this kind has a few kilobytes)"
    )
    assert time.perf_counter() - start < 0.5


def test_a_file_of_just_the_limit_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * (MAX_BYTES - 6))

    assert read(path).data == {"a": 1}


def test_keys_are_text_as_written_and_dates_stay_text() -> None:
    document = parse(b"on: off\n1: 2\nno: null\nday: 2026-11-21\nt: '1'\n", T)

    assert document.data == {"on": False, "1": 2, "no": None, "day": "2026-11-21", "t": "1"}


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    document = parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", T)

    assert document.data == {"a": 1, "b": 2}
    assert document.mark(("b",)) == Mark(2, 4)


def test_every_key_and_value_has_its_place() -> None:
    document = parse(b"hosts:\n  alpha: {nics: [x, 'y']}\n", T)

    assert document.place(("hosts", "alpha")).key == Mark(2, 3)
    assert document.place(("hosts", "alpha")).value == Mark(2, 10)
    assert document.mark(("hosts", "alpha", "nics", 1)) == Mark(2, 21)
    assert document.mark(("hosts", "alpha", "nics")) == Mark(2, 11)
    assert document.mark(("hosts", "alpha", "missing")) == Mark(2, 3)


def test_columns_count_characters_and_not_bytes() -> None:
    assert parse("a: {é: x, b: y}".encode(), T).mark(("a", "b")) == Mark(1, 14)


def test_merged_keys_keep_the_place_where_they_are_written() -> None:
    document = parse(b"a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], z: 3}\n", T)

    assert document.data["c"] == {"x": 1, "y": 1, "z": 3}
    assert document.mark(("c", "y")) == Mark(1, 17)
    assert document.mark(("c", "z")) == Mark(3, 22)


def test_an_alias_shows_the_place_of_its_anchor_and_shares_no_data() -> None:
    document = parse(b"a: &a [1]\nb: *a\n", T)

    assert document.mark(("b", 0)) == Mark(1, 8)
    assert document.data["a"] is not document.data["b"]


def test_paths_are_dotted_with_indices_in_brackets() -> None:
    assert dotted(("guests", "g1", "address", 0, "x")) == "guests.g1.address[0].x"
    assert dotted(()) == ""


@pytest.mark.parametrize("path", sorted((ROOT / "topologies").glob("*.yaml")), ids=lambda p: p.name)
def test_data_is_what_pyyaml_reads(path: pathlib.Path) -> None:
    assert read(path).data == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", sorted((ROOT / "topologies").glob("*.yaml")), ids=lambda p: p.name)
def test_the_parser_in_c_and_the_one_in_python_agree(path: pathlib.Path) -> None:
    assert compose(path.read_text(), "f") == compose(path.read_text(), "f", loader=yaml.SafeLoader)


YAML_ISH = st.lists(
    st.sampled_from(
        ["a", "b", ": ", ":", "- ", "\n", "\n  ", "{", "}", "[", "]", ",", "&x ", "*x", "<<", "!t ",
         "!!int ", "'", '"', "#", "|", ">", "? ", "%", "---", "...", "\t", "1", "0x", "52:54", "é",
         "null", "on", "\\", "\\ud800", "\\UFFFFFFFF", "@", "`", "\u2028", "=", "~", ".inf"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@given(st.binary(max_size=200) | YAML_ISH.map(str.encode))
def test_no_content_yields_anything_but_a_document_or_problems(content: bytes) -> None:
    try:
        document = parse(content, T)
    except ProblemsError as error:
        assert error.problems  # noqa: PT017
    else:
        assert isinstance(document, Document)


@given(YAML_ISH)
def test_the_python_parser_yields_nothing_else_either(text: str) -> None:
    try:
        compose(text, "t.yaml", loader=yaml.SafeLoader)
    except ProblemsError as error:
        assert error.problems  # noqa: PT017
