"""Synthetic vectors of two kinds: clustered, as embeddings after a ReLU; and anisotropic with hubs."""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

DIM = 512
_ROWS_PER_BLOCK = 8192
_LATENT_DIM = 24
_CENTER_SPREAD = 1.0
_LATENT_SPREAD = 0.8
_NOISE = 0.25
_MIXTURE_STREAM = 1 << 32
_SPECTRUM_POWER = 0.5


class ClusteredVectors:
    """A mixture of about sqrt(n) clusters, of sizes by a power law, each varying in its own few directions."""

    dim = DIM

    def __init__(self, n_rows: int, seed: int = 0) -> None:
        # Not the numbers that hyperplanes of the same seed are drawn from: those would be the centers.
        rng = np.random.default_rng((seed, _MIXTURE_STREAM))
        self.n_rows = n_rows
        n_clusters = max(int(np.sqrt(n_rows)), 2)
        self._centers = _CENTER_SPREAD * rng.standard_normal((n_clusters, DIM), dtype=np.float32)
        # Directions of variation are shared by clusters in different mixtures, as a network's features are.
        self._dictionary = rng.standard_normal((256, DIM), dtype=np.float32) / np.sqrt(_LATENT_DIM)
        self._atoms = np.stack([rng.permutation(256)[:_LATENT_DIM] for _ in range(n_clusters)])
        weights = (1.0 + np.arange(n_clusters)) ** -0.5
        self._shares = weights / weights.sum()
        self._seed = seed

    def draw(self, n_rows: int, stream: int) -> Float32Array:
        """`n_rows` vectors (n_rows, 512); another `stream`, other vectors of the same mixture."""
        rng = np.random.default_rng((self._seed, stream))
        vectors = np.empty((n_rows, DIM), np.float32)
        for start in range(0, n_rows, _ROWS_PER_BLOCK):
            block = vectors[start : start + _ROWS_PER_BLOCK]
            self._fill(block, rng)
        return vectors

    def _fill(self, block: Float32Array, rng: np.random.Generator) -> None:
        clusters = rng.choice(len(self._shares), len(block), p=self._shares)
        block[:] = self._centers[clusters]
        latent = np.zeros((len(block), len(self._dictionary)), np.float32)
        values = _LATENT_SPREAD * rng.standard_normal((len(block), _LATENT_DIM), dtype=np.float32)
        np.put_along_axis(latent, self._atoms[clusters], values, axis=1)
        block += latent @ self._dictionary
        block += _NOISE * rng.standard_normal(block.shape, dtype=np.float32)
        np.maximum(block, 0, out=block)


class AnisotropicVectors:
    """Gaussian vectors with a spectrum by a power law, of which some lie near the middle of all: hubs, near many."""

    dim = DIM

    def __init__(self, n_rows: int, seed: int = 0) -> None:
        rng = np.random.default_rng((seed, 7))
        self.n_rows = n_rows
        rotation = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0]
        self._directions = (rotation * (1.0 + np.arange(DIM)) ** -_SPECTRUM_POWER).T.astype(np.float32)
        self._middle = (rng.standard_normal(DIM, dtype=np.float32) @ self._directions) * np.float32(3.0)
        self._seed = seed

    def draw(self, n_rows: int, stream: int) -> Float32Array:
        """`n_rows` vectors (n_rows, 512); another `stream`, other vectors of the same law."""
        rng = np.random.default_rng((self._seed, 7, stream))
        vectors = np.empty((n_rows, DIM), np.float32)
        for start in range(0, n_rows, _ROWS_PER_BLOCK):
            block = vectors[start : start + _ROWS_PER_BLOCK]
            lengths = rng.gamma(2.0, 0.5, (len(block), 1)).astype(np.float32)
            block[:] = rng.standard_normal(block.shape, dtype=np.float32) @ self._directions
            block *= lengths
            block += self._middle
        return vectors


# The kinds by name; each is made with the number of rows, and draws vectors of `dim` components.
KINDS: dict[str, type[ClusteredVectors] | type[AnisotropicVectors]] = {
    "clustered": ClusteredVectors,
    "hubs": AnisotropicVectors,
}


def easy_queries(vectors: Float32Array, n_queries: int, seed: int) -> Float32Array:
    """Stored vectors with a little noise: near-duplicates of what is there."""
    rng = np.random.default_rng(seed)
    chosen = vectors[rng.choice(len(vectors), n_queries, replace=False)]
    noisy = chosen + 0.15 * rng.standard_normal(chosen.shape, dtype=np.float32)
    return np.maximum(noisy, 0) if chosen.min() >= 0.0 else noisy
