"""Commands on the artifact store: status, builds, verify, rollback, gc."""

from pathlib import Path

from flows.commands.declaring import CONFIG, DONE, FAILED, JSON, ROOT, SET, argument, command, positive
from flows.console import say, say_json
from lookalike.config.loading import load_config
from lookalike.config.sections import LookalikeConfig
from lookalike.files import user_path
from lookalike.store.artifacts import Store


@command(
    "what is published, and which stages are stale",
    CONFIG,
    SET,
    argument("--root", type=user_path, metavar="DIR", help="artifact root (default: artifacts)"),
    JSON,
)
def status(config_file: Path | None, settings: list[str], root: Path | None, as_json: bool) -> int:
    """Print the published build, and with a configuration which stages are fresh or stale."""
    from lookalike.pipeline.descriptions import describe_status
    from lookalike.pipeline.publishing import find_status

    config = load_config(config_file, settings) if config_file or settings else None
    found = find_status(Store(root or (config or LookalikeConfig()).artifacts.root), config)
    say_json(found) if as_json else say(describe_status(found))
    return DONE


@command(
    "list the finished builds, published and refused",
    argument("--experiments", action="store_true", help="list the experiments instead"),
    ROOT,
    JSON,
)
def builds(experiments: bool, root: Path, as_json: bool) -> int:
    """List the finished builds or the experiments, oldest first."""
    from lookalike.pipeline.descriptions import describe_builds, describe_experiments
    from lookalike.pipeline.maintenance import list_builds, list_experiments

    find, describe = (list_experiments, describe_experiments) if experiments else (list_builds, describe_builds)
    found = find(Store(root))
    say_json({"builds": found}) if as_json else say(describe(found))
    return DONE


@command(
    "check every artifact against its manifest",
    argument("--deep", action="store_true", help="read every byte, and every image"),
    ROOT,
    JSON,
)
def verify(deep: bool, root: Path, as_json: bool) -> int:
    """Check every artifact and print what is damaged; 1 if anything is."""
    from lookalike.pipeline.maintenance import verify as find_problems

    problems = find_problems(Store(root), deep=deep)
    say_json({"problems": problems}) if as_json else say("\n".join(problems) or "everything is whole")
    return FAILED if problems else DONE


@command(
    "make an earlier build current again",
    argument(
        "build", nargs="?", metavar="BUILD", help="its id, or the beginning of it (default: the one published before)"
    ),
    ROOT,
)
def rollback(build: str | None, root: Path) -> int:
    """Make an earlier build current."""
    from lookalike.pipeline.maintenance import roll_back

    current = roll_back(Store(root), build)
    say(f"build {current.build_id} of {current.created_at} is current")
    return DONE


@command(
    "clear away what no kept build needs",
    argument(
        "--keep",
        type=positive,
        default=3,
        metavar="N",
        help="keep the newest N published builds and the newest N experiments (default: 3)",
    ),
    argument("--dry-run", action="store_true", help="only say what would be removed"),
    argument("--grace-seconds", type=float, default=3600.0, metavar="S", help="keep what is younger (default: 3600)"),
    ROOT,
)
def gc(keep: int, dry_run: bool, grace_seconds: float, root: Path) -> int:
    """Remove what no kept build needs."""
    from lookalike.pipeline.descriptions import describe_garbage
    from lookalike.pipeline.garbage import clear, find_garbage

    garbage = (find_garbage if dry_run else clear)(Store(root), keep=keep, grace_seconds=grace_seconds)
    say(describe_garbage(garbage, is_dry_run=dry_run))
    return DONE
