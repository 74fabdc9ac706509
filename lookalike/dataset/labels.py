"""Checks of the labels that the configuration names against those of the source."""

import difflib
from collections.abc import Collection
from pathlib import Path

from lookalike.config.sections import DatasetConfig, LookalikeConfig
from lookalike.dataset import caltech101
from lookalike.dataset.archive import archived_paths, without_outer_folders
from lookalike.dataset.label_folders import label_of
from lookalike.dataset.listing import list_source
from lookalike.errors import ConfigError

_MOST_NAMED = 10


def source_labels(config: DatasetConfig, artifacts: Path) -> set[str] | None:
    """The labels of a source, excluded ones too, from its names alone; None if it must be downloaded first.

    Raises `DatasetError` or `ConfigError` if the source cannot be listed.
    """
    if config.source == "synthetic":
        from lookalike.dataset.synthetic.generate import synthetic_labels

        return set(synthetic_labels(config.synthetic_labels))
    folder = config.folder if config.source == "folder" else caltech101.local_source(config)
    if folder is None:
        return None
    if not folder.is_dir():
        return {label_of(path, config) for path in archived_paths(folder)}
    folder = without_outer_folders(folder) if config.source == "caltech101" else folder
    listing = list_source(folder, config, artifacts)
    return {label_of(file.path, config) for file in listing.files}


def check_excluded_labels(excluded: Collection[str], labels: Collection[str]) -> None:
    """Raise ConfigError if a label of `dataset.exclude_labels` does not exist, or none is left."""
    _check("dataset.exclude_labels", excluded, labels)
    if labels and set(labels) <= set(excluded):
        raise ConfigError(f"dataset.exclude_labels leaves no label: it names all {len(set(labels))}")


def check_used_labels(config: LookalikeConfig, labels: Collection[str]) -> None:
    """Raise ConfigError if a setting of training or evaluation names a label that is not among those that are used."""
    _check("training.unseen_labels", config.training.unseen_labels, labels)
    _check("evaluation.same_labels", [label for group in config.evaluation.same_labels for label in group], labels)
    _check("evaluation.background_labels", config.evaluation.background_labels, labels)


def names_labels(config: LookalikeConfig) -> bool:
    """Whether any setting names a label."""
    return bool(
        config.dataset.exclude_labels
        or config.training.unseen_labels
        or config.evaluation.same_labels
        or config.evaluation.background_labels
    )


def _check(key: str, names: Collection[str], labels: Collection[str]) -> None:
    for name in names:
        if name not in labels:
            close = difflib.get_close_matches(name, labels, n=3)
            known = sorted(labels)[:_MOST_NAMED]
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are {', '.join(known)}"
            more = "" if close or len(labels) <= _MOST_NAMED else f" and {len(labels) - _MOST_NAMED} more"
            raise ConfigError(f"{key}: there is no label {name!r}; {hint}{more}")
