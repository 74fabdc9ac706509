"""Chances that a neighbor is missed: that it lies in no bucket that is looked up, or is dropped by its sketch."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float64Array
from lookalike.lsh.hyperplanes import Keys
from lookalike.lsh.sketches import QuerySketch, alignment_factors

# The rounded query is this much longer than the query, squared: what weights of two bits do to a normal distribution.
_ROUNDING = 0.04
_SMALLEST_CHANCE = 1e-300
# Abramowitz and Stegun, formula 7.1.26: the error function within 1.5e-7.
_ERF_POLYNOMIAL = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592, 0.0)
_ERF_SCALE = 0.3275911


def chances_to_miss(
    keys: Keys, coordinates: Float64Array, tables: NDArray[np.int64], buckets: Keys, cosines: Float64Array, dim: int
) -> Float64Array:
    """For random vectors at angles of these cosines (m,) to the query, the chances (m,) to lie in none of the buckets.

    `coordinates` (n_tables, n_bits) are the unit query's distances to the hyperplanes, `keys` its own buckets. The
    buckets (n,) come in pairs of table and key.
    """
    n_tables, n_bits = coordinates.shape
    flips = np.clip(_flip_chances(coordinates, cosines, dim), _SMALLEST_CHANCE, 1.0 - 1e-15)
    stay = np.log1p(-flips)
    differing = (buckets ^ keys[tables])[:, None] >> np.arange(n_bits, dtype=np.uint32) & np.uint32(1)
    changes = np.einsum("mnb,nb->mn", (np.log(flips) - stay)[:, tables], differing.astype(np.float64))
    held = np.exp(stay.sum(axis=2)[:, tables] + changes)
    missed = np.ones(len(cosines))
    for table in range(n_tables):
        missed *= np.maximum(0.0, 1.0 - held[:, tables == table].sum(axis=1))
    return missed


def _flip_chances(coordinates: Float64Array, cosines: Float64Array, dim: int) -> Float64Array:
    """The chances (m, n_tables, n_bits) that a vector lies on the other side of a hyperplane than the query.

    Its coordinate is the cosine times the query's plus the sine times that of a random unit vector at right angles
    to the query, which is nearly normal.
    """
    sines = np.sqrt(np.maximum(1.0 - cosines**2, 0.0))
    if dim < 2:
        return np.where(cosines < 0.0, 1.0, 0.0)[:, None, None] * np.ones_like(coordinates)
    spread = sines[:, None, None] * np.sqrt((1.0 - np.minimum(coordinates**2, 1.0)) / (dim - 1))
    ratios = coordinates * cosines[:, None, None] / np.maximum(spread * np.sqrt(2.0), _SMALLEST_CHANCE)
    return _half_erfc(ratios)


def _half_erfc(values: Float64Array) -> Float64Array:
    """(1 - erf) / 2 of each value."""
    sizes = np.minimum(np.abs(values), 30.0)
    upper: Float64Array = 0.5 * np.polyval(_ERF_POLYNOMIAL, 1.0 / (1.0 + _ERF_SCALE * sizes)) * np.exp(-(sizes**2))
    return np.where(values < 0.0, 1.0 - upper, upper)


def deviations_for(chance: float) -> float:
    """How many standard deviations a normal variable exceeds with this chance."""
    return NormalDist().inv_cdf(1.0 - chance)


def cosine_deviations(dim: int, n_words: int, cosine: float) -> Float64Array:
    """Standard deviation of the cosine's estimate for rows at `cosine` or nearer, for each alignment (256,)."""
    n_planes = 64 * n_words
    lengths = n_planes * alignment_factors(dim, n_words) ** 2
    squared_sine = 1.0 - max(cosine, 0.0) ** 2
    across = np.maximum(lengths - 1.0 / max(1.0, n_planes / dim), 0.0)
    deviations: Float64Array = np.sqrt((squared_sine * across + _ROUNDING * lengths) / (dim - 1))
    return deviations


def estimated_cosines(sums: NDArray[np.int64], factors: Float64Array, sketch: QuerySketch, norm: float) -> Float64Array:
    """Estimates (n,) of cosines from penalties and alignment factors of rows, for a query of this norm."""
    estimates: Float64Array = (sketch.total - 2 * sums) * factors * (sketch.unit / norm)
    return estimates
