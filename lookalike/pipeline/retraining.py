"""When the published model is kept although the images have changed, as `training.retrain` says."""

import logging
from collections.abc import Mapping
from typing import Any

from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ModelError
from lookalike.store.artifacts import ArtifactReference, Store

logger = logging.getLogger(__name__)

# Principal components change enough to embed all images again once they are taken of this many times more images.
_OUTGROWN = 4


def kept_model(
    store: Store, config: LookalikeConfig, inputs: Mapping[str, ArtifactReference]
) -> ArtifactReference | None:
    """Return the published model if it is to be used again, else None.

    It must be undamaged and trained with the same settings. `on_new_labels` also demands that it knows every label,
    `on_growth` that it was trained on the same source, on more than a quarter of the present images.
    """
    current = store.find_current() if config.training.retrain != "always" else None
    if current is None:
        return None
    if training_settings(current["config"]["training"]) != training_settings(config.training.model_dump(mode="json")):
        return None
    model = store.find(store.root / current["artifacts"]["fine_tune"])
    if model is None or _is_outdated(model, config, current, inputs["download_dataset"]):
        return None
    logger.info("the published model is kept (training.retrain=%s; `always` trains a new one)", config.training.retrain)
    return model


def training_settings(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the section `training` that decide the model: all but the one when to train again."""
    return {name: value for name, value in section.items() if name != "retrain"}


def _is_outdated(
    model: ArtifactReference, config: LookalikeConfig, current: Mapping[str, Any], dataset: ArtifactReference
) -> bool:
    from lookalike.dataset.storage import open_dataset
    from lookalike.network.description import NO_NETWORK, read_description
    from lookalike.training.summary import COMPONENT_IMAGES

    try:
        description = read_description(model.folder)
    except ModelError as error:
        logger.warning("%s; the model is trained again", error)
        return True
    if (description["backbone"] == NO_NETWORK) != (config.dataset.source == "vectors"):
        return True
    match config.training.retrain:
        case "on_new_labels":
            to_be_trained = set(open_dataset(dataset.folder).classes) - set(config.training.unseen_labels)
            return not to_be_trained <= set(description["classes"])
        case "on_growth":
            now, before = config.dataset.model_dump(mode="json"), current["config"]["dataset"]
            if any(now[name] != before.get(name) for name in ("source", "folder", "archive", "vectors")):
                return True
            n_images = open_dataset(dataset.folder).catalog["split"].to_pylist().count("train")
            return bool(min(n_images, COMPONENT_IMAGES) >= _OUTGROWN * description.get("images", 0))
    return False
