"""What the command line prints: results on stdout, complaints on stderr."""

import sys
from typing import Any

from lookalike.printable import json_text, printable, printable_lines


def say(text: str) -> None:
    """Print a result on stdout."""
    print(printable_lines(text), flush=True)  # noqa: T201


def say_json(value: Any) -> None:
    """Print a result on stdout as one line of JSON."""
    say(json_text(value))


def complain(text: str) -> None:
    """Print on stderr, in one line, what went wrong."""
    print(f"lookalike: {printable(text)}", file=sys.stderr)  # noqa: T201
