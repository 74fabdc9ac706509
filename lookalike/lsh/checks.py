"""Checks of vectors, ids and parameters, made once at the public boundary and then trusted."""

from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from lookalike.limits import LARGEST_COMPONENT
from lookalike.lsh.base import METRICS, Float32Array, Int64Array, Metric

# Of vectors, of the mean and of hyperplanes alike.
LARGEST_VALUE = LARGEST_COMPONENT
ROWS_PER_CHECK = 8192


def checked_vectors(
    vectors: ArrayLike, dim: int | None = None, name: str = "vectors", first_row: int = 0
) -> Float32Array:
    """`vectors` as a C-contiguous float32 array (n, dim), not copied when it already is one.

    Messages count rows from `first_row`.

    Raises:
        TypeError: not numbers, or complex numbers.
        ValueError: not two-dimensional, wrong dim, or a row with NaN, infinite or too large values;
            the message names the first such row.
    """
    array = np.asarray(vectors)
    _check_real(array, name)
    if array.ndim != 2:
        raise ValueError(f"{name} must have shape (n, dim), got {array.shape}; one vector is vector[None, :]")
    if array.shape[1] < 1 or (dim is not None and array.shape[1] != dim):
        raise ValueError(f"{name} must have dim {dim or 'of at least 1'}, got {array.shape[1]}")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, dtype=np.float32)
    for start in range(0, len(array), ROWS_PER_CHECK):
        _check_finite(array[start : start + ROWS_PER_CHECK], first_row + start, name)
    return array


def checked_query(vector: ArrayLike, dim: int) -> Float32Array:
    """One query as float32 (dim,); raises like `checked_vectors`."""
    array = np.asarray(vector)
    _check_real(array, "query")
    if array.shape != (dim,):
        raise ValueError(f"query must have shape ({dim},), got {array.shape}; use query_batch for several")
    with np.errstate(over="ignore"):
        query = np.ascontiguousarray(array, dtype=np.float32)
    if not np.abs(query).max() <= LARGEST_VALUE:
        _check_finite(query[None, :], 0, "query")
    return query


def checked_ids(ids: ArrayLike | None, n_rows: int) -> Int64Array:
    """`ids` as a new int64 array (n_rows,), row numbers when None; refuses duplicates, fractions, wrong lengths."""
    if ids is None:
        return np.arange(n_rows, dtype=np.int64)
    array = np.asarray(ids)
    if array.shape != (n_rows,):
        raise ValueError(f"ids must have shape ({n_rows},), one a vector, got {array.shape}")
    if n_rows and array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers, got {array.dtype}")
    if array.dtype == np.uint64 and n_rows and int(array.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"ids must be below 2**63, got {int(array.max())}")
    result = array.astype(np.int64)
    duplicate = first_duplicate(result)
    if duplicate is not None:
        raise ValueError(f"ids must be distinct, but {duplicate} occurs more than once")
    return result


def first_duplicate(ids: Int64Array) -> int | None:
    """The smallest id that occurs twice, or None."""
    ordered = np.sort(ids)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return int(repeated[0]) if len(repeated) else None


def checked_metric(metric: str) -> Metric:
    """`metric`, if it is a known one."""
    return checked_choice("metric", metric, METRICS)  # type: ignore[return-value]


def checked_choice(name: str, value: str, choices: Any) -> str:
    """`value`, if it is one of `choices`: a tuple of strings or a Literal type."""
    valid = choices if isinstance(choices, tuple) else get_args(choices)
    if value not in valid:
        raise ValueError(f"{name} must be one of {', '.join(valid)}; got {value!r}")
    return value


def checked_int(name: str, value: int, lowest: int, highest: int | None = None) -> int:
    """`value` as a plain int between `lowest` and `highest`, both included."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < lowest or (highest is not None and value > highest):
        limits = f"at least {lowest}" if highest is None else f"between {lowest} and {highest}"
        raise ValueError(f"{name} must be {limits}, got {value}")
    return int(value)


def checked_mean(mean: ArrayLike | None, dim: int) -> Float32Array:
    """`mean` as float32 (dim,); zeros when None."""
    if mean is None:
        return np.zeros(dim, np.float32)
    array = np.asarray(mean)
    _check_real(array, "mean")
    if array.shape != (dim,):
        raise ValueError(f"mean must have shape ({dim},), got {array.shape}")
    result = np.array(array, np.float32)
    _check_finite(result[None, :], 0, "mean")
    return result


def _check_real(array: np.ndarray[Any, Any], name: str) -> None:
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers (float32), got dtype {array.dtype}")


def _check_finite(block: Float32Array, first_row: int, name: str) -> None:
    # One pass without a temporary of the block's size in the usual case; comparisons with NaN are false.
    if not len(block) or (block.max() <= LARGEST_VALUE and block.min() >= -LARGEST_VALUE):
        return
    good = (np.abs(block) <= LARGEST_VALUE).all(axis=1)
    row = int(np.flatnonzero(~good)[0])
    kind = "NaN" if np.isnan(block[row]).any() else f"values infinite or beyond {LARGEST_VALUE:g}"
    raise ValueError(f"{name} must be finite, but row {first_row + row} holds {kind}")


def checked_confidence(confidence: float) -> float:
    """`confidence`, from 0 to below 1."""
    if not 0.0 <= confidence < 1.0:
        raise ValueError(f"confidence must be at least 0 and below 1, got {confidence}; search_exact is sure")
    return confidence
