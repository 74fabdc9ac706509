"""What each command of `lookalike` does; each function takes the parsed options and returns the exit code.

Imports stand inside the functions: `query` and `status` must not wait for Prefect, nor anything for torch.
"""

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lookalike.config import LookalikeConfig
from lookalike.config_loading import load_config

DONE, FAILED = 0, 1


class Terminated(BaseException):
    """Somebody asked this process to end (SIGTERM)."""


def build(options: argparse.Namespace) -> int:
    """Run the build flow in this process, with a private Prefect server unless PREFECT_API_URL names one."""
    config = load_config(options.config, options.set)
    from lookalike.descriptions import describe_outcome
    from lookalike.preflight import check_before_start
    from lookalike.publishing import RefusedBuildError

    check_before_start(config)
    _quiet_prefect()
    logging.getLogger("lookalike.build").info("starting Prefect (a few seconds) ...")
    from flows.build import build as build_flow
    from flows.server import check_server

    check_server()
    try:
        with _ending_on_sigterm():
            outcome = build_flow(str(options.config) if options.config else None, options.set)
    except RefusedBuildError as refusal:
        if options.json:
            _print_json(refusal.outcome)
        raise
    _print_json(outcome) if options.json else _print(describe_outcome(outcome, config.artifacts.root))
    return DONE


def index(options: argparse.Namespace) -> int:
    """Build an index of a folder of images without labels, nothing trained, and say how to ask it."""
    from lookalike.photos import PHOTOS_CONFIG, how_to_ask, index_settings

    settings = index_settings(options.folder, options.root, options.set)
    code = build(argparse.Namespace(config=PHOTOS_CONFIG, set=settings, json=options.json))
    root = load_config(PHOTOS_CONFIG, settings).artifacts.root
    question = how_to_ask(options.folder, root)
    logging.getLogger("lookalike.index").info("ask with: %s", question) if options.json else _print(
        f"ask with:\n  {question}"
    )
    return code


def experiment(options: argparse.Namespace) -> int:
    """Build several configurations without publishing, and compare them; 1 if any of them failed."""
    from lookalike.comparison import comparison_table, save_comparison

    for config_file in options.configs:
        load_config(config_file, options.set)
    _quiet_prefect()
    from flows.experiment import experiment as experiment_flow
    from flows.server import check_server

    check_server()
    with _ending_on_sigterm():
        rows = experiment_flow([str(config_file) for config_file in options.configs], options.set)
    _print_json({"experiments": rows}) if options.json else _print(comparison_table(rows))
    if options.output is not None:
        save_comparison(rows, options.output)
    for row in rows:
        if row["error"] is not None:
            complain(f"{row['name']}: {row['error']}")
    return FAILED if any(row["error"] is not None for row in rows) else DONE


def query(options: argparse.Namespace) -> int:
    """Answer queries from the published build; 1 if any of them failed."""
    from lookalike.descriptions import describe_result
    from lookalike.search import Searcher
    from lookalike.search.output import saver_for

    save = saver_for(options.output)
    searcher = Searcher.open(options.root, options.set)
    results = searcher.query_many(options.images, options.n, exact=options.exact)
    if options.output is not None:
        save(results, options.output)
        logging.getLogger("lookalike.query").info("picture: %s", options.output)
    if options.show:
        from lookalike.search.picture import draw_results

        draw_results(results).show()
    if options.json:
        _print_json({"results": [result.as_json() for result in results]})
    else:
        _print("\n\n".join(describe_result(result) for result in results))
    for result in results:
        if result.error is not None:
            complain(result.error if result.query in result.error else f"{result.query}: {result.error}")
    return FAILED if any(result.error is not None for result in results) else DONE


def status(options: argparse.Namespace) -> int:
    """Say what is published, and with --config which stages are fresh or stale."""
    from lookalike.descriptions import describe_status
    from lookalike.publishing import find_status
    from lookalike.store import Store

    has_config = options.config is not None or bool(options.set)
    config = load_config(options.config, options.set) if has_config else None
    root = options.root or (config.artifacts.root if config else LookalikeConfig().artifacts.root)
    found = find_status(Store(root), config)
    _print_json(found) if options.json else _print(describe_status(found))
    return DONE


def builds(options: argparse.Namespace) -> int:
    """List the finished builds, oldest first."""
    from lookalike.descriptions import describe_builds
    from lookalike.maintenance import list_builds
    from lookalike.store import Store

    found = list_builds(Store(options.root))
    _print_json({"builds": found}) if options.json else _print(describe_builds(found))
    return DONE


def verify(options: argparse.Namespace) -> int:
    """Check every artifact; 1, and the list of what is damaged, if any is."""
    from lookalike.maintenance import verify as find_problems
    from lookalike.store import Store

    problems = find_problems(Store(options.root), deep=options.deep)
    if options.json:
        _print_json({"problems": problems})
    else:
        _print("\n".join(problems) if problems else "everything is whole")
    return FAILED if problems else DONE


def rollback(options: argparse.Namespace) -> int:
    """Make an earlier build current."""
    from lookalike.maintenance import roll_back
    from lookalike.store import Store

    record = roll_back(Store(options.root), options.build)
    _print(f"build {record['build_id']} of {record['created_at']} is current")
    return DONE


def gc(options: argparse.Namespace) -> int:
    """Clear away what no kept build needs."""
    from lookalike.descriptions import describe_garbage
    from lookalike.maintenance import clear, find_garbage
    from lookalike.store import Store

    find = find_garbage if options.dry_run else clear
    garbage = find(Store(options.root), keep=options.keep, grace_seconds=options.grace_seconds)
    _print(describe_garbage(garbage, is_dry_run=options.dry_run))
    return DONE


def serve(options: argparse.Namespace) -> int:
    """Serve scheduled rebuilds and queries on demand until stopped."""
    config = load_config(options.config, options.set)
    from flows.serving import serve_deployments

    serve_deployments(config, options.config, options.set)
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


def _quiet_prefect() -> None:
    # The console alone: Prefect's pages keep every line. What went wrong is said once, by `main`.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    print(f"lookalike: {text}", file=sys.stderr)  # noqa: T201


def _print_json(value: Any) -> None:
    _print(json.dumps(value, ensure_ascii=False))
