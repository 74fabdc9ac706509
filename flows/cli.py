"""The command line: `lookalike index | build | experiment | query | status | serve | deploy | notify | builds | ...`.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 failed; 2 wrong usage or
configuration; 3 the quality gate was not met. Only commands that run or schedule flows import Prefect.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from flows.commands.building import Terminated
from flows.commands.declaring import COMMANDS, FAILED
from flows.console import complain
from lookalike.errors import LookalikeError, describe_system_error
from lookalike.printable import PrintableFormatter, escape_unencodable, printable

INTERRUPTED, TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_unencodable()
    options = vars(_parser().parse_args(arguments))
    _log_to_stderr()
    try:
        return int(options.pop("run")(**options))
    except LookalikeError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted; a new start goes on from what is finished")
        return INTERRUPTED
    except Terminated:
        complain("terminated; a new start goes on from what is finished")
        return TERMINATED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`lookalike query ... | head`). Nothing more can be
        # written; without this the interpreter complains when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        problem = describe_system_error(error)
        if problem is None:
            raise  # A defect of the program: the traceback is what its developers need.
        complain(problem)
        return FAILED


class _Parser(argparse.ArgumentParser):
    """A parser whose error messages escape control characters."""

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with 2."""
        super().error(printable(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lookalike", description="Find the images of a collection that look most like a given image.")
    parsers = parser.add_subparsers(required=True, metavar="command")
    for name, command in COMMANDS.items():
        subparser = parsers.add_parser(name, help=command.description)
        for flags, options in command.arguments:
            subparser.add_argument(*flags, **options)
        subparser.set_defaults(run=command.run)
    return parser


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    library = logging.getLogger("lookalike")
    library.setLevel(logging.INFO)
    library.addHandler(handler)
    library.propagate = False


if __name__ == "__main__":
    sys.exit(main())
