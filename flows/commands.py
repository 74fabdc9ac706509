"""What each command of `lookalike` does; each function takes the parsed options and returns the exit code.

Imports stand inside the functions: `query` and `status` must not wait for Prefect, nor anything for torch.
"""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import describe_system_error
from lookalike.printable import json_text, printable, printable_lines

if TYPE_CHECKING:
    from lookalike.search import QueryResult

DONE, FAILED = 0, 1


class Terminated(BaseException):
    """Somebody asked this process to end (SIGTERM)."""


def build(options: argparse.Namespace) -> int:
    """Run the build flow in this process, with a private Prefect server unless PREFECT_API_URL names one."""
    config = load_config(options.config, options.set)
    from lookalike.pipeline.descriptions import describe_outcome
    from lookalike.pipeline.preflight import check_before_start
    from lookalike.pipeline.publishing import RefusedBuildError

    plan = check_before_start(config, options.config, options.set)
    wait_for_prefect = _start_prefect()
    logging.getLogger("lookalike.build").info("starting Prefect (a few seconds) ...")
    from flows.build import already_checked
    from flows.build import build as build_flow

    wait_for_prefect()
    try:
        with _ending_on_sigterm(), already_checked(plan):
            outcome = build_flow(str(options.config) if options.config else None, options.set)
    except RefusedBuildError as refusal:
        if options.json:
            _print_json(refusal.outcome)
        raise
    _print_json(outcome) if options.json else _print(describe_outcome(outcome, config.artifacts.root))
    return DONE


def index(options: argparse.Namespace) -> int:
    """Build an index of a folder of images without labels, nothing trained, and say how to ask it."""
    from lookalike.pipeline.photos import PHOTOS_CONFIG, how_to_ask, index_settings

    settings = index_settings(options.folder, options.root, options.set)
    code = build(argparse.Namespace(config=PHOTOS_CONFIG, set=settings, json=options.json))
    root = load_config(PHOTOS_CONFIG, settings).artifacts.root
    question = how_to_ask(options.folder, root)
    if options.json:
        logging.getLogger("lookalike.index").info("ask with: %s", question)
    else:
        _print(f"  such as: {question}")
    return code


def experiment(options: argparse.Namespace) -> int:
    """Build several configurations without publishing, and compare them; 1 if any of them failed."""
    from lookalike.pipeline.comparison import comparison_table, save_comparison
    from lookalike.pipeline.preflight import check_before_start

    for config_file in options.configs:
        check_before_start(load_config(config_file, options.set), config_file, options.set)
    wait_for_prefect = _start_prefect()
    from flows.experiment import experiment as experiment_flow

    wait_for_prefect()
    with _ending_on_sigterm():
        rows = experiment_flow([str(config_file) for config_file in options.configs], options.set)
    _print_json({"experiments": rows}) if options.json else _print(comparison_table(rows))
    if options.output is not None:
        save_comparison(rows, options.output)
    for row in rows:
        if row["error"] is not None:
            complain(row["error"])
    return FAILED if any(row["error"] is not None for row in rows) else DONE


def query(options: argparse.Namespace) -> int:
    """Answer queries from the published build, or the one that is named; 1 if any of them failed."""
    from lookalike.pipeline.descriptions import describe_result
    from lookalike.search import Searcher
    from lookalike.search.output import check_room, saver_for

    saver_for(options.output)
    with Searcher.open(options.root, options.set, build=options.build) as searcher:
        n_neighbors = min(options.n or searcher.config.n, len(searcher))
        for output in _pictures(options):
            check_room(output, len(options.images), n_neighbors)
        results = searcher.query_many(options.images, options.n, exact=options.exact)
    if options.json:
        _print_json({"results": [result.as_json() for result in results]})
    else:
        _print("\n\n".join(describe_result(result) for result in results))
    for result in results:
        if result.error is not None:
            complain(result.error if result.query in result.error else f"{result.query}: {result.error}")
    is_shown = _show(results, options)
    return DONE if is_shown and all(result.error is None for result in results) else FAILED


def _pictures(options: argparse.Namespace) -> list[Path]:
    """The files of pictures that a query is to make; the viewer of --show is given a PNG."""
    return ([options.output] if options.output is not None else []) + ([Path("picture.png")] if options.show else [])


def _show(results: Sequence["QueryResult"], options: argparse.Namespace) -> bool:
    """Write and open the picture, if asked for; whether that went well. The answers are printed already."""
    from lookalike.search.output import saver_for

    try:
        if options.output is not None:
            saver_for(options.output)(results, options.output)
            logging.getLogger("lookalike.query").info("picture: %s", options.output)
        if options.show:
            from lookalike.search.picture import draw_results

            draw_results(results).show()
    except (OSError, ValueError, MemoryError) as error:
        place = options.output if options.output is not None else "the picture"
        complain(f"cannot write {place}: {describe_system_error(error) or error}")
        return False
    return True


def status(options: argparse.Namespace) -> int:
    """Say what is published, and with --config which stages are fresh or stale."""
    from lookalike.pipeline.descriptions import describe_status
    from lookalike.pipeline.publishing import find_status
    from lookalike.store.artifacts import Store

    has_config = options.config is not None or bool(options.set)
    config = load_config(options.config, options.set) if has_config else None
    root = options.root or (config.artifacts.root if config else LookalikeConfig().artifacts.root)
    found = find_status(Store(root), config)
    _print_json(found) if options.json else _print(describe_status(found))
    return DONE


def builds(options: argparse.Namespace) -> int:
    """List the finished builds or the experiments, oldest first."""
    from lookalike.pipeline.descriptions import describe_builds, describe_experiments
    from lookalike.pipeline.maintenance import list_builds, list_experiments
    from lookalike.store.artifacts import Store

    find, describe = (list_experiments, describe_experiments) if options.experiments else (list_builds, describe_builds)
    found = find(Store(options.root))
    _print_json({"builds": found}) if options.json else _print(describe(found))
    return DONE


def verify(options: argparse.Namespace) -> int:
    """Check every artifact; 1, and the list of what is damaged, if any is."""
    from lookalike.pipeline.maintenance import verify as find_problems
    from lookalike.store.artifacts import Store

    problems = find_problems(Store(options.root), deep=options.deep)
    if options.json:
        _print_json({"problems": problems})
    else:
        _print("\n".join(problems) if problems else "everything is whole")
    return FAILED if problems else DONE


def rollback(options: argparse.Namespace) -> int:
    """Make an earlier build current."""
    from lookalike.pipeline.maintenance import roll_back
    from lookalike.store.artifacts import Store

    build = roll_back(Store(options.root), options.build)
    _print(f"build {build.build_id} of {build.created_at} is current")
    return DONE


def gc(options: argparse.Namespace) -> int:
    """Clear away what no kept build needs."""
    from lookalike.pipeline.descriptions import describe_garbage
    from lookalike.pipeline.garbage import clear, find_garbage
    from lookalike.store.artifacts import Store

    find = find_garbage if options.dry_run else clear
    garbage = find(Store(options.root), keep=options.keep, grace_seconds=options.grace_seconds)
    _print(describe_garbage(garbage, is_dry_run=options.dry_run))
    return DONE


def serve(options: argparse.Namespace) -> int:
    """Serve scheduled rebuilds and queries on demand until stopped."""
    config = load_config(options.config, options.set)
    from flows.server import require_server

    require_server("serve")
    from flows.deployments import serve_collection

    serve_collection(config, options.config, options.set)
    return DONE


def deploy(options: argparse.Namespace) -> int:
    """Register the same deployments as `serve` for the workers of a work pool."""
    config = load_config(options.config, options.set)
    from flows.server import require_server

    require_server("deploy")
    from flows.deployments import deploy_collection

    deploy_collection(config, options.config, options.set, options.pool)
    return DONE


def notify(options: argparse.Namespace) -> int:
    """Set up Prefect automations that report refused, failed and missing builds through a notification block."""
    config = load_config(options.config, options.set)
    from flows.server import require_server

    require_server("notify")
    from flows.notifications import notify_of_builds

    notify_of_builds(config.name, options.block, options.hours)
    return DONE


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """SIGTERM raises Terminated within the block, so that locks and temporary files are left in order.

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
    """Start a private Prefect server, unless one is named; call the result after what can be done meanwhile."""
    # The console alone: Prefect's pages keep every line. What went wrong is said once, by `main`.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from flows.server import check_server, start_server

    return partial(check_server, start_server())


def _print(text: str) -> None:
    print(printable_lines(text), flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    print(f"lookalike: {printable(text)}", file=sys.stderr)  # noqa: T201


def _print_json(value: Any) -> None:
    _print(json_text(value))
