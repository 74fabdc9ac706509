"""Which label an image has, by the folders of its path, and whether a folder's labels can be what was meant."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from lookalike.config.sections import DatasetConfig
from lookalike.dataset.listing import LINK_PROBLEMS, FoundFile
from lookalike.dataset.records import NO_LABEL
from lookalike.dataset.split import HELD_OUT_FOLDERS, is_held_out
from lookalike.errors import DatasetError
from lookalike.images.formats import IMAGE_SUFFIXES

# Label of images that lie above the folders that give labels.
UNLABELLED = "unlabelled"

_SPLITS = HELD_OUT_FOLDERS | {"train", "training"}
# A year, month or day, and what cameras call their folders (100APPLE, 101_0714).
_DATE = re.compile(r"(19|20)\d\d([-_. ]?\d\d){0,2}|\d{3}[A-Z0-9_]{5}")
_NAMES_SHOWN = 3


def labelled(files: Sequence[FoundFile], config: DatasetConfig) -> list[FoundFile]:
    """Return the files with their labels, in the same order."""
    return [replace(file, label=label_of(file.path, config)) for file in files]


def label_of(path: str, config: DatasetConfig) -> str:
    """Return the label of a path: the name of the folder at `label_level`, or UNLABELLED where there is none."""
    if config.labels == "none":
        return NO_LABEL
    folders = PurePosixPath(path).parts[:-1]
    level = config.label_level or 1
    if abs(level) > len(folders):
        return UNLABELLED
    return folders[level - 1 if level > 0 else level]


def check_labels(root: Path, files: Sequence[FoundFile], config: DatasetConfig) -> None:
    """Raise DatasetError, naming the setting that helps, if the files below `root` cannot be built as configured.

    It goes by names alone, so it can be asked before any work is done.
    """
    paths = [file.path for file in files if file.problem is None and _is_named_as_image(file.path)]
    if not paths:
        raise DatasetError(_no_images(root, files))
    if config.split == "folders" and len({is_held_out(path) for path in paths}) < 2:
        raise DatasetError(
            f"{root}: dataset.split=folders needs images both inside and outside of outermost folders called "
            f"{', '.join(sorted(HELD_OUT_FOLDERS))}; set dataset.split=random"
        )
    if config.labels == "none":
        if len(paths) < 2:
            raise DatasetError(f"{root} holds a single image, {paths[0]}; at least two are needed to compare them")
        return
    problem = _problem_of_labels(paths, config)
    if problem:
        raise DatasetError(f"{root}: {problem}; {_helpful_setting(root, paths, config)}")


def _is_named_as_image(path: str) -> bool:
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def _no_images(root: Path, files: Sequence[FoundFile]) -> str:
    links = [file.path for file in files if file.problem in LINK_PROBLEMS]
    if links:
        return (
            f"{root} holds no images but {len(links):,} symbolic links ({_shown(links)}) that are not followed; "
            "set dataset.follow_links=true"
        )
    return f"{root} holds no images: none of its {len(files):,} files is an image by its name (.jpg, .png, ...)"


def _problem_of_labels(paths: Sequence[str], config: DatasetConfig) -> str | None:
    counts = Counter(label for path in paths if (label := label_of(path, config)) not in config.exclude_labels)
    names = sorted(set(counts) - {UNLABELLED})
    if not names:
        return "its images lie in no folders that could be their labels"
    # Who chose the level means its names.
    if config.label_level is None and _are_splits(names):
        return f"its outermost folders are splits and no labels ({_shown(names)})"
    if config.label_level is None and _are_dates(names):
        return f"its outermost folders are dates and no labels ({_shown(names)})"
    if len(counts) < 2:
        return f"all {sum(counts.values()):,} images are in one folder ({_shown(names)}), and labels need at least two"
    if max(counts.values()) < 2:
        return f"each of the {len(counts):,} labels ({_shown(names)}) has one image alone, so none can be held out"
    return None


def _helpful_setting(root: Path, paths: Sequence[str], config: DatasetConfig) -> str:
    deepest = max(len(PurePosixPath(path).parts) for path in paths) - 1
    for level in range(1, deepest + 1):
        candidate = config.model_copy(update={"label_level": level})
        names = sorted({label_of(path, candidate) for path in paths} - {UNLABELLED})
        if _are_dates(names):
            break
        if len(names) > 1 and not _are_splits(names) and _problem_of_labels(paths, candidate) is None:
            has_splits = len({is_held_out(path) for path in paths}) == 2
            keep = ", and dataset.split=folders to hold out the same images" if has_splits else ""
            return f"set dataset.label_level={level} if the folders {_shown(names)} are the labels{keep}"
    return f"set dataset.labels=none (configs/photos.yaml), or run `lookalike index {shlex.quote(str(root))}`"


def _are_splits(names: Sequence[str]) -> bool:
    return all(name.lower() in _SPLITS for name in names)


def _are_dates(names: Sequence[str]) -> bool:
    """Whether most of the names are dates, or a camera's."""
    return 2 * sum(_DATE.fullmatch(name) is not None for name in names) > len(names)


def _shown(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"
