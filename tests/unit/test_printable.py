"""Whatever a name holds, it can be printed, and JSON of it can be read."""

import io
import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.printable import PrintableFormatter, escape_unencodable, json_text, printable, printable_lines
from lookalike.search import QueryResult, SimilarImage
from lookalike.search.page import render_page
from lookalike.search.picture import draw_results
from lookalike.search.results import describe_result

# Any bytes that a file system takes, as Python hands them out, and any text.
NAMES = st.binary(max_size=40).map(lambda name: name.decode(errors="surrogateescape")) | st.text(
    st.characters(exclude_categories=()), max_size=40
)
VALUES = st.recursive(
    NAMES | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
ENCODINGS = ["utf-8", "ascii", "latin-1", "cp1252", "cp437", "shift_jis"]


def result_of(name, label):
    neighbor = SimilarImage(rank=1, image_id="0" * 64, path=name, label=label, distance=0.1, similarity=0.9)
    return QueryResult(query=name, neighbors=(neighbor,), candidates=1, latency_ms=1.0)


@given(NAMES)
def test_printable_text_is_one_line_without_control_characters(name):
    text = printable(name)
    text.encode()
    assert len(text.splitlines()) <= 1
    assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text)
    assert printable(text) == text


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        (b"caf\xe9".decode(errors="surrogateescape"), r"caf\xe9"),
        ("\ud800", r"\ud800"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("\x9b2J", r"\x9b2J"),
        ("Bär 日本 👩‍👧.jpg", "Bär 日本 👩‍👧.jpg"),
    ],
)
def test_escapes_are_those_that_people_know(name, shown):
    assert printable(name) == shown
    assert printable_lines(f"{name}") == "\n".join(printable(line) for line in name.split("\n"))


@given(VALUES)
def test_json_is_ascii_and_strictly_valid(value):
    def refuse(constant):
        raise ValueError(constant)

    text = json_text(value)
    assert text.isascii()
    assert "\n" not in text
    again = json.loads(text, parse_constant=refuse)
    # No lone surrogate is left, which strict parsers refuse.
    json.dumps(again, ensure_ascii=False).encode()
    assert json_text(again) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_of_valid_text_is_read_back_unchanged(text):
    assert json.loads(json_text({"path": text, text: [text]})) == {"path": text, text: [text]}


@given(NAMES, NAMES, st.sampled_from(ENCODINGS))
def test_every_console_shows_every_answer(name, label, encoding):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    text = printable_lines(describe_result(result_of(name, label)))
    console.write(text)
    console.flush()
    assert text.count("\n") == 1
    assert "\x1b" not in text


@given(NAMES, NAMES)
def test_pages_hold_every_name(name, label):
    page = render_page([result_of(name, label)])
    page.encode()
    assert "\x1b" not in page
    assert "\0" not in page


@given(NAMES)
def test_log_lines_are_single_and_printable(name):
    record = logging.LogRecord("lookalike", logging.INFO, "", 0, "rejected %s", (name,), None)
    assert PrintableFormatter("%(message)s").format(record) == f"rejected {printable(name)}"


@pytest.mark.parametrize("name", ["\udcff.jpg", "\x1b[2J", "a\0b", "\u202e", "\ud83d", "two\nlines", "日本 👩‍👧"])
def test_pictures_hold_every_name(name):
    assert draw_results([result_of(name, name)]).height > 0


def test_streams_that_cannot_be_configured_are_left_alone(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    escape_unencodable()
    assert stream.errors == "backslashreplace"
    monkeypatch.setattr("sys.stdout", None)
    escape_unencodable()
