"""Text that any console can show and any parser can read, whatever bytes a file name has.

Names may hold line breaks, control sequences of a terminal, or bytes that are no UTF-8 (Python
keeps those as lone surrogates). People see them escaped; JSON is pure ASCII without surrogates.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

# Control characters, line and paragraph separators, marks that reverse the direction of text, lone surrogates.
_UNPRINTABLE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
_SURROGATE = re.compile("[\\ud800-\\udfff]")
# Python decodes the byte b of a name that is not UTF-8 as the character U+DC00 + b.
_SURROGATE_BYTES = range(0xDC80, 0xDD00)


def printable(text: str) -> str:
    """Return `text` on one line, with control characters and other unprintable ones as backslash escapes."""
    return _UNPRINTABLE.sub(_escape, text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, but keep line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def json_text(value: Any) -> str:
    """Return `value` as one line of ASCII that every JSON parser can read.

    Lone surrogates are escaped as in `printable`, which leaves all other text as it is. JSON has no
    NaN and no infinity: they become null.
    """
    return json.dumps(_plain(value), allow_nan=False)


def escape_unencodable() -> None:
    """Make stdout and stderr escape what their encoding lacks instead of raising UnicodeEncodeError."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class PrintableFormatter(logging.Formatter):
    """Formats log records as `printable` messages."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message on one line."""
        return printable(super().formatMessage(record))


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if code in _SURROGATE_BYTES:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode() if code < 0xD800 else f"\\u{code:04x}"


def _plain(value: Any) -> Any:
    match value:
        case str():
            return _SURROGATE.sub(_escape, value)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {_plain(name): _plain(item) for name, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
    return value
