"""What the command line prints for people: builds, query results and the state of the store, as text."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.figures import absences, describe_quality
from lookalike.maintenance import Garbage
from lookalike.search.results import QueryResult


def describe_outcome(outcome: Mapping[str, Any], root: Path) -> str:
    """A finished build in a few lines: stages, figures, where things are."""
    metrics, artifacts = outcome["metrics"], outcome["artifacts"]
    verdict = "published" if outcome["published"] else "not published"
    lines = [f"build {outcome['build_id']}: {verdict} after {outcome['seconds']:.1f} s"]
    lines += [f"  {step:<17} {state:<7} {root / artifacts[step]}" for step, state in outcome["steps"].items()]
    lines += [
        f"  {metrics['n_images']:,} images; on {metrics['n_queries']:,} held-out ones: {describe_quality(metrics)}",
        *(f"  no {names}: {reason}" for names, reason in absences(metrics)),
        f"  index against exact search: recall@10 {metrics['recall_at_10']:.4f}, "
        f"{metrics['candidate_fraction']:.1%} of the collection compared",
        f"  figures: {root / artifacts['evaluate_recall'] / 'metrics.json'}",
    ]
    return "\n".join(lines)


def describe_result(result: QueryResult) -> str:
    """One query's answer as a table, nearest first, or its error."""
    if result.error is not None:
        return f"{result.query}: no answer"
    lines = [f"{result.query}: {len(result.neighbors)} most similar, {result.latency_ms:.0f} ms"]
    # Two blanks after the longest label; nothing where there are no labels.
    width = max((len(neighbor.label) + 2 for neighbor in result.neighbors if neighbor.label), default=0)
    lines += [
        f"  {neighbor.rank:>4}  {neighbor.similarity:6.3f}  {neighbor.label:<{width}}{neighbor.path}"
        for neighbor in result.neighbors
    ]
    return "\n".join(lines)


def describe_status(status: Mapping[str, Any]) -> str:
    """What is published, and which stages are fresh, in a few lines."""
    published = status["published"]
    lines = [f"artifact root: {status['root']}"]
    if published is None:
        lines.append("nothing is published yet; run `lookalike build`")
    else:
        metrics, dataset = published["metrics"], published["config"]["dataset"]
        versions = ", ".join(f"{name} {version}" for name, version in published["versions"].items())
        lines += [
            f"published: build {published['build_id']} of {published['created_at']}",
            f"  data    {dataset['source']}, {metrics['n_images']:,} images",
            f"  model   {published['config']['training']['backbone']}, {describe_quality(metrics)}",
            f"  index   recall@10 {metrics['recall_at_10']:.4f}",
            f"  figures {Path(status['root']) / published['artifacts']['evaluate_recall'] / 'metrics.json'}",
            f"  config  {published['config_digest']}",
            f"  code    {versions}",
        ]
    if "problem" in status:
        lines.append(f"the configuration cannot be built: {status['problem']}")
    for name, stage in (status["stages"] or {}).items():
        note = ", published" if stage["published"] else ""
        lines.append(f"  {name:<17} {stage['state']}{note}")
    return "\n".join(lines)


def describe_builds(builds: Sequence[Mapping[str, Any]]) -> str:
    """The finished builds as a table, oldest first; the current one has a star."""
    if not builds:
        return "no build has finished yet"
    lines = [
        "  build         made                       config        images  recall@10  precision@10  copies@10      size"
    ]
    for build in builds:
        note = "" if build["published"] else "  refused"
        note += "" if build["is_complete"] else "  cleared away"
        lines.append(
            f"{'*' if build['is_current'] else ' '} {build['build_id']}  {build['created_at']}  "
            f"{build['config_digest']}  {build['n_images']:>6,}  {build['recall_at_10']:>9.4f}  "
            f"{_figure(build['precision_at_10']):>12}  {_figure(build['copy_recall_at_10']):>9}  "
            f"{_size(build['size_bytes']):>8}{note}"
        )
    return "\n".join(lines)


def describe_garbage(garbage: Sequence[Garbage], *, is_dry_run: bool) -> str:
    """What was, or would be, removed."""
    verb = "would be removed" if is_dry_run else "removed"
    lines = [f"{item.path}  {_size(item.size_bytes)}" for item in garbage]
    lines.append(f"{len(garbage)} items {verb}, {_size(sum(item.size_bytes for item in garbage))}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
