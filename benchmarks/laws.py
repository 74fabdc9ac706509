"""Laws that vectors are drawn by, from kind to unkind for hashing; `draw(law, n, seed)`."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
Generator = np.random.Generator

_FIXED = 12345


def _fixed() -> Generator:
    """What belongs to the law itself, and is the same for stored vectors and queries."""
    return np.random.default_rng(_FIXED)


def _uniform(rng: Generator, n: int) -> NDArray[np.float64]:
    return rng.random((n, 32))


def _sparse(rng: Generator, n: int) -> NDArray[np.float64]:
    return rng.random((n, 256)) * (rng.random((n, 256)) < 0.03)


def _binary(rng: Generator, n: int) -> NDArray[np.float64]:
    return rng.integers(0, 2, (n, 128)).astype(float)


def _low_rank(rng: Generator, n: int) -> NDArray[np.float64]:
    return rng.standard_normal((n, 6)) @ _fixed().standard_normal((6, 96))


def _one_long_axis(rng: Generator, n: int) -> NDArray[np.float64]:
    vectors = rng.standard_normal((n, 48))
    vectors[:, 0] *= 1000
    return vectors


def _heavy_copies(rng: Generator, n: int) -> NDArray[np.float64]:
    distinct = _fixed().standard_normal((n // 4, 40))
    return distinct[np.minimum(rng.geometric(4 / n, n), n // 4 - 1)] + 0.0


def _hubs(rng: Generator, n: int) -> NDArray[np.float64]:
    """Gaussian in many dimensions, with lengths that put some rows near all others."""
    return rng.standard_normal((n, 100)) * rng.gamma(2.0, 1.0, (n, 1))


def _one_cluster(rng: Generator, n: int) -> NDArray[np.float64]:
    return 50 + 0.01 * rng.standard_normal((n, 64))


def _heavy_tails(rng: Generator, n: int) -> NDArray[np.float64]:
    return rng.standard_normal((n, 48)) * (1 + rng.pareto(1.5, (n, 1)))


def _clusters(rng: Generator, n: int) -> NDArray[np.float64]:
    centers = _fixed().standard_normal((40, 64))
    return np.maximum(centers[rng.integers(0, 40, n)] + 0.3 * rng.standard_normal((n, 64)), 0)


LAWS: dict[str, Callable[[Generator, int], NDArray[np.float64]]] = {
    "uniform": _uniform,
    "sparse": _sparse,
    "binary": _binary,
    "low rank": _low_rank,
    "one long axis": _one_long_axis,
    "heavy copies": _heavy_copies,
    "hubs": _hubs,
    "one cluster": _one_cluster,
    "heavy tails": _heavy_tails,
    "clusters": _clusters,
}


def draw(law: str, n: int, seed: int) -> Float32Array:
    """`n` vectors of a law, float32; other seeds, other vectors of the same law."""
    return LAWS[law](np.random.default_rng(seed), n).astype(np.float32)
