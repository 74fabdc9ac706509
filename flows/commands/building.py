"""Commands that build: index, build, experiment. Each runs a flow in this process."""

import argparse
import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from flows.commands.declaring import CONFIG, DONE, FAILED, JSON, ROOT, SET, argument, command, set_option
from flows.console import complain, say, say_json
from lookalike.config.loading import load_config
from lookalike.files import user_path


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@command(
    "make a folder of images searchable: no labels, no configuration, no training",
    argument("folder", type=user_path, metavar="FOLDER", help="the images; folders in it are searched too"),
    ROOT,
    SET,
    JSON,
)
def index(folder: Path, root: Path, settings: list[str], as_json: bool) -> int:
    """Build an index of a folder of images without labels or training, and say how to query it."""
    from lookalike.pipeline.photos import PHOTOS_CONFIG, how_to_ask, index_settings

    settings = index_settings(folder, root, settings)
    code = build(PHOTOS_CONFIG, settings, as_json)
    question = how_to_ask(folder, load_config(PHOTOS_CONFIG, settings).artifacts.root)
    if as_json:
        logging.getLogger("lookalike.index").info("ask with: %s", question)
    else:
        say(f"  such as: {question}")
    return code


@command("run every stage that is not cached, and publish the index", CONFIG, SET, JSON)
def build(config_file: Path | None, settings: list[str], as_json: bool) -> int:
    """Run the build flow, with a private Prefect server unless PREFECT_API_URL names one."""
    config = load_config(config_file, settings)
    from lookalike.pipeline.descriptions import describe_outcome
    from lookalike.pipeline.preflight import check_before_start
    from lookalike.pipeline.publishing import RefusedBuildError

    plan = check_before_start(config, config_file, settings)
    wait_for_prefect = _start_prefect()
    logging.getLogger("lookalike.build").info("starting Prefect (a few seconds) ...")
    from flows.build import already_checked
    from flows.build import build as build_flow

    wait_for_prefect()
    try:
        with _ending_on_sigterm(), already_checked(plan):
            outcome = build_flow(str(config_file) if config_file else None, settings)
    except RefusedBuildError as refusal:
        if as_json:
            say_json(refusal.outcome)
        raise
    say_json(outcome) if as_json else say(describe_outcome(outcome, config.artifacts.root))
    return DONE


def _png(text: str) -> Path:
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"expected a file ending in .png, got {text!r}")
    return user_path(text)


@command(
    "build several configurations and compare them, publish nothing",
    argument("configs", nargs="+", type=user_path, metavar="F", help="YAML files"),
    set_option("override in all"),
    argument("--output", type=_png, metavar="F.png", help="draw the comparison"),
    JSON,
)
def experiment(configs: list[Path], settings: list[str], output: Path | None, as_json: bool) -> int:
    """Build several configurations without publishing, and compare them; 1 if any of them failed."""
    from lookalike.pipeline.comparison import comparison_table, save_comparison
    from lookalike.pipeline.preflight import check_before_start

    for config_file in configs:
        check_before_start(load_config(config_file, settings), config_file, settings)
    wait_for_prefect = _start_prefect()
    from flows.experiment import experiment as experiment_flow

    wait_for_prefect()
    with _ending_on_sigterm():
        rows = experiment_flow([str(config_file) for config_file in configs], settings)
    say_json({"experiments": rows}) if as_json else say(comparison_table(rows))
    if output is not None:
        save_comparison(rows, output)
    errors = [row["error"] for row in rows if row["error"] is not None]
    for error in errors:
        complain(error)
    return FAILED if errors else DONE


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise Terminated within the block, so that locks are released and temporary files removed.

    Prefect's flow engine takes the signal first, reports the run as crashed, and passes the signal on.
    """

    def end(signal_number: int, frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _start_prefect() -> Callable[[], None]:
    """Start a private Prefect server unless the user names one; the returned function waits until it is ready."""
    # Only on the console: Prefect's pages keep every line. `main` prints the error once.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from flows.server import check_server, start_server

    return partial(check_server, start_server())
