"""A trained model as a folder: `model.safetensors` holds every tensor, `model.json` everything else.

`model.json` says how the network was made (backbone, head, initial weights, versions), what it was trained on
(classes, digest of the split, accuracy), and what happens to an image first (preprocessing).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lookalike.errors import ModelError
from lookalike.files import replacing, sha256_of_file, write_json_atomic
from lookalike.network.backbones import Backbone, build_body
from lookalike.network.description import (
    DESCRIPTION_NAME,
    FORMAT_VERSION,
    WEIGHTS_NAME,
    check_fp32,
    read_description,
    read_tensors,
)
from lookalike.network.embedding_network import EmbeddingNetwork
from lookalike.network.head import FeatureLayout, Head
from lookalike.network.preprocessing import Preprocessing


@dataclass(frozen=True)
class HeadShape:
    """Everything that `Head` needs to be built again."""

    in_features: int
    units: int
    classes: int
    layout: FeatureLayout
    activation: Literal["relu", "none"]
    classifier: Literal["linear", "cosine"]
    dropout: float
    pretrained_components: int

    def build(self) -> Head:
        """Return a new, randomly initialized head."""
        return Head(**asdict(self))


@dataclass(frozen=True)
class StoredModel:
    """A model as read from its folder: the network in evaluation mode, and its description."""

    network: EmbeddingNetwork
    preprocessing: Preprocessing
    description: dict[str, Any]


def save_model(
    folder: Path,
    network: EmbeddingNetwork,
    *,
    backbone: Backbone,
    head: HeadShape,
    preprocessing: Preprocessing,
    facts: Mapping[str, Any],
) -> None:
    """Write `model.safetensors` and `model.json` into `folder`, each whole or not at all.

    `facts` are further entries of the description, such as the classes and the accuracy. Raises ModelError if a
    tensor is not fp32.
    """
    network = network.eval().cpu()
    tensors = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    with replacing(folder / WEIGHTS_NAME) as temporary:
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, temporary)
        check_fp32(temporary, folder / WEIGHTS_NAME)
    description = {
        **facts,
        "format_version": FORMAT_VERSION,
        "backbone": str(backbone),
        "head": asdict(head),
        "preprocessing": preprocessing.to_json(),
        "weights_sha256": sha256_of_file(folder / WEIGHTS_NAME),
    }
    write_json_atomic(folder / DESCRIPTION_NAME, description)


def load_model(folder: Path) -> StoredModel:
    """Return the model of a folder, in evaluation mode, on the processor, fp32; its body is made by its library.

    Raises ModelError if a file is missing or damaged.
    """
    description = read_description(folder)
    tensors = read_tensors(folder, description, load_file)
    library, _, name = description["backbone"].partition(":")
    try:
        preprocessing = Preprocessing.from_json(description["preprocessing"])
        # New layers draw their initial values from torch's random numbers, which are the caller's.
        with torch.random.fork_rng(devices=()):
            head = HeadShape(**description["head"]).build()
            body = build_body(Backbone(library, name)).module
        head.load_state_dict(_with_prefix(tensors, "head."))
        body_tensors = _with_prefix(tensors, "body.")
        body.load_state_dict({name: body_tensors[name] for name in body.state_dict()})
    except (KeyError, TypeError, ValueError, RuntimeError) as cause:
        raise ModelError(f"{folder} holds a model whose parts do not fit together ({cause}); train it again") from cause
    network = EmbeddingNetwork(preprocessing, body, head).eval().requires_grad_(False)
    return StoredModel(network, preprocessing, description)


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
