"""The command line: `lookalike index | build | experiment | query | status | serve | deploy | notify | builds | ...`.

Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 failed; 2 wrong usage or
configuration; 3 the quality gate was not met. Only commands that run or schedule flows import Prefect.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from flows import commands
from flows.commands import FAILED, Terminated, complain
from lookalike.errors import LookalikeError, describe_system_error
from lookalike.files import user_path
from lookalike.printable import PrintableFormatter, escape_unencodable, printable

INTERRUPTED, TERMINATED = 130, 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    escape_unencodable()
    options = _parser().parse_args(arguments)
    _log_to_stderr()
    try:
        return int(options.command(options))
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
    """A parser whose complaints show any argument."""

    def error(self, message: str) -> NoReturn:
        """Complain and exit with 2."""
        super().error(printable(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lookalike", description="Find the images of a collection that look most like a given image.")
    parsers = parser.add_subparsers(required=True, metavar="command")
    _add_index(parsers)
    _add_build(parsers)
    _add_experiment(parsers)
    _add_query(parsers)
    _add_status(parsers)
    _add_serve(parsers)
    _add_maintenance(parsers)
    return parser


def _add_index(parsers: Any) -> None:
    parser = parsers.add_parser(
        "index", help="make a folder of images searchable: no labels, no configuration, no training"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the images; folders in it are searched too")
    _add_root(parser)
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="override one setting")
    _add_json(parser)
    parser.set_defaults(command=commands.index)


def _add_build(parsers: Any) -> None:
    parser = parsers.add_parser("build", help="run every stage that is not cached, and publish the index")
    _add_config(parser)
    _add_json(parser)
    parser.set_defaults(command=commands.build)


def _add_experiment(parsers: Any) -> None:
    parser = parsers.add_parser("experiment", help="build several configurations and compare them, publish nothing")
    parser.add_argument("configs", nargs="+", type=user_path, metavar="F", help="YAML files")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="override in all")
    parser.add_argument("--output", type=_png, metavar="F.png", help="draw the comparison")
    _add_json(parser)
    parser.set_defaults(command=commands.experiment)


def _add_query(parsers: Any) -> None:
    parser = parsers.add_parser("query", help="find the most similar images")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a path, an http(s) URL, or id:<image_id>")
    parser.add_argument("-n", type=_positive, default=None, metavar="N", help="neighbors of each image (default: 6)")
    parser.add_argument("--exact", action="store_true", help="compare with every image instead of asking the index")
    parser.add_argument(
        "--output", type=user_path, metavar="F", help="write the result as a picture (.png, .jpg) or .html"
    )
    parser.add_argument("--show", action="store_true", help="open the picture in a viewer")
    _add_root(parser)
    parser.add_argument("--build", metavar="ID", help="ask this build or experiment instead of the published one")
    parser.add_argument("--set", action="append", default=[], metavar="query.KEY=VALUE", help="override a query limit")
    _add_json(parser)
    parser.set_defaults(command=commands.query)


def _add_status(parsers: Any) -> None:
    parser = parsers.add_parser("status", help="what is published, and which stages are stale")
    _add_config(parser)
    _add_root(parser, default=None)
    _add_json(parser)
    parser.set_defaults(command=commands.status)


def _add_serve(parsers: Any) -> None:
    parser = parsers.add_parser("serve", help="rebuild on a schedule, and answer queries as a Prefect deployment")
    _add_config(parser)
    parser.set_defaults(command=commands.serve)
    parser = parsers.add_parser("deploy", help="the same for Prefect workers: register both in a work pool")
    _add_config(parser)
    parser.add_argument("--pool", required=True, metavar="P", help="a Prefect work pool of type process")
    parser.set_defaults(command=commands.deploy)
    parser = parsers.add_parser("notify", help="have Prefect report refused, failed and missing builds")
    _add_config(parser)
    parser.add_argument("--block", required=True, metavar="TYPE/NAME", help="a notification block of Prefect")
    parser.add_argument("--hours", type=_positive, default=24, metavar="H", help="without a publication (default: 24)")
    parser.set_defaults(command=commands.notify)


def _add_maintenance(parsers: Any) -> None:
    parser = parsers.add_parser("builds", help="list the finished builds, published and refused")
    parser.add_argument("--experiments", action="store_true", help="list the experiments instead")
    _add_root(parser)
    _add_json(parser)
    parser.set_defaults(command=commands.builds)
    parser = parsers.add_parser("verify", help="check every artifact against its manifest")
    parser.add_argument("--deep", action="store_true", help="read every byte, and every image")
    _add_root(parser)
    _add_json(parser)
    parser.set_defaults(command=commands.verify)
    parser = parsers.add_parser("rollback", help="make an earlier build current again")
    parser.add_argument(
        "build", nargs="?", metavar="BUILD", help="its id, or the beginning of it (default: the one published before)"
    )
    _add_root(parser)
    parser.set_defaults(command=commands.rollback)
    parser = parsers.add_parser("gc", help="clear away what no kept build needs")
    parser.add_argument(
        "--keep",
        type=_positive,
        default=3,
        metavar="N",
        help="keep the newest N published builds and the newest N experiments (default: 3)",
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    parser.add_argument(
        "--grace-seconds", type=float, default=3600.0, metavar="S", help="keep what is younger (default: 3600)"
    )
    _add_root(parser)
    parser.set_defaults(command=commands.gc)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=user_path, metavar="F", help="a YAML file; without one, all defaults")
    parser.add_argument("--set", action="append", default=[], metavar="section.key=value", help="override one setting")


def _add_root(parser: argparse.ArgumentParser, default: Path | None = Path("artifacts")) -> None:
    parser.add_argument(
        "--root", type=user_path, default=default, metavar="DIR", help="artifact root (default: artifacts)"
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, last on stdout")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return value


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"expected a file ending in .png, got {text!r}")
    return user_path(text)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(message)s"))
    library = logging.getLogger("lookalike")
    library.setLevel(logging.INFO)
    library.addHandler(handler)
    library.propagate = False


if __name__ == "__main__":
    sys.exit(main())
