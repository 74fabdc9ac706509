"""What can be checked before a build starts, so that a typo costs a second and not an hour."""

import os
from collections.abc import Sequence
from pathlib import Path

from lookalike.config.sections import IndexConfig, LookalikeConfig
from lookalike.errors import ArtifactError, ConfigError
from lookalike.pipeline.registry import Plan
from lookalike.store.artifacts import Store

_LSHASH3_BYTES_A_VECTOR = 16_000


def check_before_start(config: LookalikeConfig, config_file: Path | None = None, settings: Sequence[str] = ()) -> Plan:
    """Return the plan of a build, after all checks that need no work: images, labels, network, index, artifact root.

    Raises ConfigError for settings that cannot work, naming `config_file` unless the key is one of `settings`
    (each as `section.key=value`); DatasetError for a source without files or usable labels; ArtifactError for a root
    that cannot be written.
    """
    plan = Plan(config)
    try:
        _check(plan)
    except ConfigError as error:
        key = str(error).partition(":")[0]
        if config_file is None or any(setting.startswith(f"{key}=") for setting in settings):
            raise
        raise ConfigError(f"{config_file}: {error}") from error
    return plan


def check_used_labels(config: LookalikeConfig, dataset_folder: Path) -> None:
    """Check the labels that the settings name against those of a stored dataset; raises ConfigError.

    This is for a source that had to be downloaded before its labels were known.
    """
    from lookalike.dataset.labels import check_used_labels, names_labels
    from lookalike.dataset.storage import open_dataset

    if names_labels(config):
        check_used_labels(config, open_dataset(dataset_folder).classes)


def check_root(root: Path) -> None:
    """Make the artifact root; raises ArtifactError if it cannot be made or written."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"cannot make the artifact root {root}: {error.strerror or error}") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise ArtifactError(f"the artifact root {root} cannot be written; choose another with artifacts.root")


def _check(plan: Plan) -> None:
    from lookalike.training.checks import check_backbone

    config = plan.config
    _check_root_is_apart(config)
    plan.source.check()
    _check_labels(plan)
    _check_index(config.index, plan.source.n_images)
    if config.dataset.source != "vectors" and not _has_proven_network(config):
        check_backbone(config.training)
        from lookalike.pipeline.dry_run import check_network

        check_network(config.training, config.embedding.layer)
    check_root(config.artifacts.root)


def _check_root_is_apart(config: LookalikeConfig) -> None:
    root, place = config.artifacts.root, config.dataset.folder or config.dataset.vectors
    if place is None:
        return
    what = "folder of images" if config.dataset.folder else "folder or file of vectors"
    if root.resolve() == place.resolve():
        raise ConfigError(f"artifacts.root: {root} is the {what} itself; choose another, or one within it")
    if place.resolve().is_relative_to(root.resolve()):
        raise ConfigError(
            f"artifacts.root: the {what}, {place}, lies in {root}, which is cleared away in time; choose "
            "another root (--root, or artifacts.root)"
        )


def _check_labels(plan: Plan) -> None:
    from lookalike.dataset import labels

    if labels.names_labels(plan.config) and plan.source.labels is not None:
        excluded = plan.config.dataset.exclude_labels
        labels.check_excluded_labels(excluded, plan.source.labels)
        labels.check_used_labels(plan.config, plan.source.labels - set(excluded))


def _check_index(config: IndexConfig, n_images: int) -> None:
    if config.engine == "lshash3":
        from lookalike.lsh.lshash_adapter import import_lshash

        import_lshash()
    needed, memory = n_images * _index_bytes_a_vector(config), _memory_bytes()
    if memory is not None and needed > memory:
        raise ConfigError(
            f"index.n_tables: {config.n_tables} tables of {config.n_bits} bits (engine {config.engine}) need about "
            f"{needed / 1e9:.0f} GB for {n_images:,} images, and this machine has {memory / 1e9:.0f} GB"
        )


def _index_bytes_a_vector(config: IndexConfig) -> int:
    """What the index holds in memory for a vector, at the least, beside the vector itself."""
    if config.engine == "lshash3":
        return _LSHASH3_BYTES_A_VECTOR
    n_tables = 1 if config.n_tables == "auto" else config.n_tables
    n_bits = 1 if config.n_bits == "auto" else config.n_bits
    # A row number of 4 bytes in each table, and a bit of the sketch for each hyperplane.
    return n_tables * 4 + n_tables * n_bits // 8


def _memory_bytes() -> int | None:
    """The memory of this machine, or None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _has_proven_network(config: LookalikeConfig) -> bool:
    """Whether the published build was made with these settings of the network, which proves that they fit.

    To build it without weights takes a fraction of a second, but to import its libraries takes some.
    """
    try:
        published = (Store(config.artifacts.root).read_current() or {}).get("config", {})
    except ArtifactError:
        return False
    return bool(
        published.get("dataset", {}).get("source") != "vectors"
        and published.get("training") == config.training.model_dump(mode="json")
        and published.get("embedding", {}).get("layer") == config.embedding.layer
    )
