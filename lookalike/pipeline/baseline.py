"""What earlier builds of the same collection reached: what a new one is held to by the gate.

Only what was published counts, or made current again; neither experiments nor refused builds.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from lookalike.config.sections import DatasetConfig
from lookalike.files import user_path
from lookalike.pipeline.gate import LABELLED_FIGURES, UNLABELLED_FIGURES, Baseline, Reached, has_fallen
from lookalike.store.events import Build, Event

# Settings that ask a collection other questions, so that the figures cannot be compared.
_QUESTIONS = ("seed", "split", "valid_fraction", "labels", "label_level")


def collection_of(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What tells a collection from others, given the `dataset` section: its source and its place, as plain JSON values.

    A mirror or an archive is another way to the same collection. What is left out of it (labels, paths)
    makes it smaller, not another one.
    """
    match dataset["source"]:
        case "folder":
            # Links are kept: the name that the user chose stays, wherever it leads.
            folder = os.path.abspath(user_path(dataset["folder"]))  # noqa: PTH100
            return {"source": "folder", "folder": folder}
        case "vectors":
            return {"source": "vectors", "vectors": os.path.abspath(user_path(dataset["vectors"]))}  # noqa: PTH100
        case "synthetic":
            drawn = ("synthetic_labels", "synthetic_images_per_label", "seed")
            return {"source": "synthetic", **{name: dataset[name] for name in drawn}}
        case source:
            return {"source": source}


def baseline_of(events: Sequence[Event], build: Build, max_regression: float) -> Baseline:
    """What the builds in `events` reached that were published of the same collection as `build`.

    Of each figure the best one counts, so that it cannot fall little by little; but a fall by more than
    `max_regression` that was published all the same was meant, and counts from then on.
    """
    earlier = [e.build for e in events if e.kind in ("published", "rolled_back") and _is_same(e.build, build)]
    if not earlier:
        return Baseline()
    figures: dict[str, Reached] = {}
    for other in earlier:
        if _questions(other) != _questions(build):
            continue
        for name in (*LABELLED_FIGURES, *UNLABELLED_FIGURES):
            value, best = other.metrics.get(name), figures.get(name)
            if value is not None and (
                best is None or value > best.value or has_fallen(best.value, value, max_regression)
            ):
                figures[name] = Reached(value, other.build_id)
    return Baseline(figures, earlier[-1].metrics.get("n_images"), earlier[-1].build_id)


def _is_same(one: Build, other: Build) -> bool:
    return _collection(one) == _collection(other)


def _collection(build: Build) -> dict[str, Any]:
    return build.collection or collection_of(build.config["dataset"])


def _questions(build: Build) -> list[Any]:
    """The values of these settings; a build made before a setting existed had its default."""
    dataset, fields = build.config["dataset"], DatasetConfig.model_fields
    return [dataset.get(name, fields[name].default) for name in _QUESTIONS if name in fields]
