"""The query side: embeds single images exactly as the collection was embedded, and loads nothing else."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.embedding.light import LightModel, open_light_model
from lookalike.embedding.table import load_metadata
from lookalike.errors import EmbeddingError

if TYPE_CHECKING:
    from lookalike.embedding.model import EmbeddingModel


# Importing torch takes as long as NumPy takes for about this many images.
_LIGHT_IMAGES = 4
_BATCH_SIZE = 8


class Embedder:
    """Embeds images with the model and the layer that stored embeddings were made with; see `open`.

    The first few images are embedded by NumPy, so that a single query does not wait for torch; from then on, and
    for many images at once, by torch. Both give the same vectors up to rounding.
    """

    def __init__(self, model_folder: Path, layer: str) -> None:
        self._model_folder = model_folder
        self._layer = layer
        self._dim = 0
        self._images_left_to_light = 0 if "torch" in sys.modules else _LIGHT_IMAGES
        light = open_light_model(model_folder, layer) if self._images_left_to_light else None
        self._model: LightModel | EmbeddingModel = light or self._open_full()

    @classmethod
    def open(cls, model_folder: Path, embeddings: Path | dict[str, Any]) -> Self:
        """Return the embedder of a model for stored embeddings: their folder, or the content of embedding.json.

        Raises EmbeddingError if the embeddings were made by another model, another layer or another
        preprocessing, ModelError if the model is damaged.
        """
        metadata = embeddings if isinstance(embeddings, dict) else load_metadata(embeddings)
        embedder = cls(model_folder, metadata["layer"])
        if embedder.fingerprint != metadata["fingerprint"]:
            raise EmbeddingError(
                f"the stored embeddings were made by another model (fingerprint {metadata['fingerprint'][:12]}) than "
                f"the one in {model_folder} ({embedder.fingerprint[:12]}); build again"
            )
        embedder._dim = int(metadata["dim"])
        return embedder

    @property
    def fingerprint(self) -> str:
        """Digest of model, layer and preprocessing; equal to that of the embeddings."""
        return self._model.fingerprint

    @property
    def image_size(self) -> int:
        """Side of the network's input, in pixels: decoding a photograph larger than this gains nothing."""
        return self._model.preprocessing.image_size

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the embedding (dim,) float32 of an RGB image."""
        vector: NDArray[np.float32] = self.embed_many([image])[0]
        return vector

    def embed_many(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return the embeddings (n, dim) float32 of RGB images; (0, dim) for none."""
        if not images:
            return np.empty((0, self._dim), dtype=np.float32)
        model = self._model_for(len(images))
        pixels = [model.preprocessing.pixels(image) for image in images]
        batches = [np.stack(pixels[start : start + _BATCH_SIZE]) for start in range(0, len(pixels), _BATCH_SIZE)]
        return np.concatenate([model.embed(batch) for batch in batches])

    def _model_for(self, count: int) -> "LightModel | EmbeddingModel":
        self._images_left_to_light -= count
        if isinstance(self._model, LightModel) and self._images_left_to_light < 0:
            self._model = self._open_full()
        return self._model

    def _open_full(self) -> "EmbeddingModel":
        from lookalike.embedding.model import ModelReference, open_model

        # One image gains nothing from bf16, and fp32 runs everywhere; their embeddings may be compared.
        return open_model(ModelReference(self._model_folder, self._layer, "fp32"))
