"""Embedding of single images for queries, exactly as the collection was embedded."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lookalike.embedding.table import NO_LAYER, load_metadata
from lookalike.errors import EmbeddingError
from lookalike.network.description import fingerprint, read_description
from lookalike.network.preprocessing import Preprocessing


class Embedder:
    """Embeds images with the network that stands beside stored embeddings; see `open`.

    Each image is computed by itself, so that its vector does not depend on the others.
    """

    def __init__(self, model_folder: Path, folder: Path, metadata: dict[str, Any]) -> None:
        self._preprocessing = Preprocessing.from_json(metadata["preprocessing"])
        # In the precision of the collection, in which bf16 was found to give the neighbors of fp32.
        if metadata["network"] is not None:
            from lookalike.network.inference import OpenVINORunner, load_graph

            graph = load_graph(folder, metadata["network"])
            self._run: Any = OpenVINORunner(graph, metadata["precision"], many=False)
        else:
            from lookalike.embedding.model import EmbeddingModel

            self._run = EmbeddingModel(model_folder, metadata["layer"]).runner(None, metadata["precision"])

    @classmethod
    def open(cls, model_folder: Path, embeddings_folder: Path) -> Self:
        """Return the embedder of stored embeddings, made by the model of `model_folder`.

        Raises EmbeddingError if the embeddings were made by another model, elsewhere, or are of another format,
        ModelError if the network is damaged.
        """
        metadata = load_metadata(embeddings_folder)
        if metadata["layer"] == NO_LAYER:
            raise EmbeddingError(
                "this collection has vectors, no network; use --vector F.npy (Searcher.query_vector) or id:<id>"
            )
        expected = fingerprint(read_description(model_folder), metadata["layer"])
        if expected != metadata["fingerprint"]:
            raise EmbeddingError(
                f"the stored embeddings were made by another model (fingerprint {metadata['fingerprint'][:12]}) than "
                f"the one in {model_folder} ({expected[:12]}); build again"
            )
        return cls(model_folder, embeddings_folder, metadata)

    @property
    def image_size(self) -> int:
        """Side of the network's input, in pixels: decoding a photograph larger than this gains nothing."""
        return self._preprocessing.image_size

    def embed(self, image: Image.Image) -> NDArray[np.float32]:
        """Return the embedding (dim,) float32 of an RGB image."""
        vector: NDArray[np.float32] = self._run(self._preprocessing.pixels(image)[None])[0]
        return vector
