import numpy as np
import pytest


def clustered_vectors(n, dim=32, n_clusters=20, seed=0):
    """Non-negative clustered vectors, as after a ReLU."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).standard_normal((n_clusters, dim))
    noise = 0.4 * rng.standard_normal((n, dim))
    return np.maximum(centers[rng.integers(0, n_clusters, n)] + noise, 0).astype(np.float32)


@pytest.fixture(scope="session")
def vectors():
    array = clustered_vectors(3000)
    array.flags.writeable = False
    return array


@pytest.fixture(scope="session")
def queries():
    array = clustered_vectors(40, seed=1)
    array.flags.writeable = False
    return array
