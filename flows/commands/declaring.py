"""How a command is declared: its help and its arguments stand above the function that runs it.

The function takes each argument as a parameter of the same name, and returns the exit code.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from lookalike.files import user_path

DONE, FAILED = 0, 1
Function = TypeVar("Function", bound=Callable[..., int])
# The flags and the options of one call of `ArgumentParser.add_argument`.
Argument = tuple[tuple[str, ...], dict[str, Any]]


class Command(NamedTuple):
    """One command: the function that runs it, the line that describes it, its arguments in order."""

    run: Callable[..., int]
    description: str
    arguments: tuple[Argument, ...]


COMMANDS: dict[str, Command] = {}


def command(description: str, *arguments: Argument) -> Callable[[Function], Function]:
    """Declare the decorated function as the command of its name."""

    def declare(function: Function) -> Function:
        COMMANDS[function.__name__] = Command(function, description, arguments)
        return function

    return declare


def argument(*flags: str, **options: Any) -> Argument:
    """Return an argument, described as for `ArgumentParser.add_argument`."""
    return flags, options


def set_option(help_line: str, metavar: str = "section.key=value") -> Argument:
    """Return the option `--set`, which may be repeated."""
    return argument("--set", dest="settings", action="append", default=[], metavar=metavar, help=help_line)


def positive(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


CONFIG = argument(
    "--config", dest="config_file", type=user_path, metavar="F", help="a YAML file; without one, all defaults"
)
SET = set_option("override one setting")
ROOT = argument(
    "--root", type=user_path, default=Path("artifacts"), metavar="DIR", help="artifact root (default: artifacts)"
)
JSON = argument("--json", dest="as_json", action="store_true", help="print one JSON object, last on stdout")
