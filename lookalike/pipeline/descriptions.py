"""What the command line prints for people: builds and the state of the store, as text."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lookalike.evaluation.figures import absences, describe_quality, has_images
from lookalike.pipeline.garbage import Garbage
from lookalike.pipeline.registry import StageResult


def describe_outcome(outcome: Mapping[str, Any], root: Path) -> str:
    """A finished build in a few lines: stages, figures, where things are."""
    metrics, artifacts = outcome["metrics"], outcome["artifacts"]
    verdict = "published" if outcome["published"] else "not published"
    lines = [f"build {outcome['build_id']}: {verdict} after {outcome['seconds']:.1f} s"]
    lines += [f"  {step:<17} {state:<7} {root / artifacts[step]}" for step, state in outcome["steps"].items()]
    if "evaluate_recall" not in artifacts:
        return "\n".join([*lines, f"  {metrics['n_images']:,} images"])  # Refused after its first stage.
    lines += [
        f"  {metrics['n_images']:,} images; on {metrics['n_queries']:,} held-out ones: {describe_quality(metrics)}",
        *(f"  no {names}: {reason}" for names, reason in absences(metrics)),
        f"  index against exact search: recall@10 {metrics['recall_at_10']:.4f}, "
        f"{metrics['candidate_fraction']:.1%} of the collection compared",
        f"  figures: {root / artifacts['evaluate_recall'] / 'metrics.json'}",
        f"  next: {_next_command(outcome, root)}",
    ]
    return "\n".join(lines)


def describe_counts(results: Mapping[str, StageResult]) -> str:
    """What became of the files, in one line: cataloged, rejected, embedded, indexed."""
    dataset, embeddings = (results[step].artifact.summary for step in ("download_dataset", "embed_all"))
    return (
        f"{dataset['n_images']:,} images and {dataset['n_rejects']:,} rejected files in the catalog; "
        f"{embeddings['rows']:,} images embedded and {embeddings['rejects']:,} rejected"
    )


def _next_command(outcome: Mapping[str, Any], root: Path) -> str:
    folder = shlex.quote(str(root))
    if outcome["published"]:
        return f"lookalike query {'IMAGE' if has_images(outcome['metrics']) else '--vector F.npy'} --root {folder}"
    return f"lookalike builds --root {folder}, to compare with what is published"


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
    lines += _refusal_lines(status["latest"])
    if "problem" in status:
        lines.append(f"the configuration cannot be built: {status['problem']}")
    for name, stage in (status["stages"] or {}).items():
        note = ", published" if stage["published"] else ""
        lines.append(f"  {name:<17} {stage['state']}{note}")
    return "\n".join(lines)


def _refusal_lines(latest: Mapping[str, Any] | None) -> list[str]:
    if latest is None or latest["event"] != "refused":
        return []
    return [
        f"refused since: build {latest['build_id']} of {latest['at']}",
        *(f"  {reason}" for reason in latest["reasons"]),
    ]


def describe_builds(builds: Sequence[Mapping[str, Any]]) -> str:
    """The finished builds as a table, oldest first; the current one has a star."""
    if not builds:
        return "no build has finished yet"
    return "\n".join([_BUILDS_HEAD, *(_build_line(build) + _verdict_note(build) for build in builds)])


def describe_experiments(builds: Sequence[Mapping[str, Any]]) -> str:
    """The experiments as a table, oldest first, each with its name at the end."""
    if not builds:
        return "no experiment has finished yet"
    return "\n".join([f"{_BUILDS_HEAD}  name", *(f"{_build_line(build)}  {build['name']}" for build in builds)])


_BUILDS_HEAD = (
    "  build         made                       config        images  accuracy  recall@10  precision@10  copies@10"
    "      size"
)


def _build_line(build: Mapping[str, Any]) -> str:
    return (
        f"{'*' if build['is_current'] else ' '} {build['build_id']}  {build['created_at']}  {build['config_digest']}  "
        f"{build['n_images']:>6,}  {_figure(build['accuracy']):>8}  {_figure(build['recall_at_10']):>9}  "
        f"{_figure(build['precision_at_10']):>12}  {_figure(build['copy_recall_at_10']):>9}  "
        f"{_size(build['size_bytes']):>8}" + ("" if build["is_complete"] else "  cleared away")
    )


def _verdict_note(build: Mapping[str, Any]) -> str:
    if not build["published"]:
        return "  refused"
    return "  refused since" if build["events"][-1]["event"] == "refused" else ""


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
