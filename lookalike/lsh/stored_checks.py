"""Checks of a stored index before it is used: what compiled code indexes by must lie within its arrays.

Digests find damage, but not a folder that was made to harm. Everything here is checked once, when an index is
loaded, and takes a few passes over the arrays; only vectors too large for a digest are not read.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import IndexFormatError
from lookalike.limits import MAX_BITS, MAX_PROBES, MAX_ROWS, MAX_TABLES
from lookalike.lsh.base import METRICS
from lookalike.lsh.checks import LARGEST_VALUE, checked_choice, checked_int, checked_vectors, first_duplicate
from lookalike.lsh.copies import first_rows
from lookalike.lsh.storage import DIGEST_LIMIT_BYTES

Arrays = Mapping[str, NDArray[Any]]
Parameters = Mapping[str, Any]

_COMMON = {"vectors": ("float32", 2), "ids": ("int64", 1), "mean": ("float32", 1)}
_KINDS: dict[str, dict[str, tuple[str, int]]] = {
    "exact": {**_COMMON, "scales": ("float32", 1)},
    "lshash3": {**_COMMON, "normals": ("float32", 3)},
    "lookalike": {
        **_COMMON,
        "vectors": ("float32 float16", 2),
        "scales": ("float32", 1),
        "sketches": ("uint64", 2),
        "table_rows": ("int32", 2),
        "table_starts": ("int32", 1),
        "table_keys": ("uint32", 1),
        "table_offsets": ("int64", 1),
        "normals": ("float32", 2),
    },
}


def check_stored(folder: Path, engine: str, parameters: Parameters, arrays: Arrays) -> None:
    """Raise IndexFormatError if anything in a stored index is missing, of another kind or out of range."""
    try:
        _check_kinds(_KINDS[engine], arrays)
        _check_rows(parameters, arrays)
        if engine == "lookalike":
            _check_numbers(parameters)
            _check_planes(parameters, arrays)
            _check_tables(parameters, arrays)
        elif engine == "lshash3":
            _check_lshash3(parameters, arrays)
    except KeyError as cause:
        raise IndexFormatError(f"{folder} lacks {cause} of its index; build the index again") from cause
    except (TypeError, ValueError) as cause:
        raise IndexFormatError(f"{folder} holds no valid index: {cause}; build the index again") from cause


def _check_kinds(kinds: Mapping[str, tuple[str, int]], arrays: Arrays) -> None:
    for name, (dtypes, n_dimensions) in kinds.items():
        array = arrays[name]
        known = array.dtype in [np.dtype(dtype).newbyteorder("=") for dtype in dtypes.split()]
        _require(known, f"{name} has dtype {array.dtype}, not {dtypes.replace(' ', ' or ')}")
        _require(array.ndim == n_dimensions, f"{name} has shape {array.shape}, not {n_dimensions} dimensions")
        _require(array.flags.c_contiguous, f"{name} is not in C order")


def _check_rows(parameters: Parameters, arrays: Arrays) -> None:
    vectors, ids, mean = arrays["vectors"], arrays["ids"], arrays["mean"]
    n_rows, dim = vectors.shape
    checked_choice("metric", parameters["metric"], METRICS)
    _require(dim > 0 and n_rows <= MAX_ROWS, f"vectors have shape {vectors.shape}")
    _require_shapes(arrays, {"ids": (n_rows,), "mean": (dim,)})
    duplicate = first_duplicate(ids)
    _require(duplicate is None, f"id {duplicate} occurs more than once")
    checked_vectors(mean[None, :], name="mean")
    if vectors.nbytes <= DIGEST_LIMIT_BYTES:
        checked_vectors(vectors)
    if "scales" in arrays:
        scales = arrays["scales"]
        _require_shapes(arrays, {"scales": (n_rows,)})
        _require(bool(np.isfinite(scales).all() and (scales >= 0).all()), "scales must be finite and not negative")
    if "copies" in arrays:
        _check_copies(arrays["copies"], n_rows)


def _check_copies(copies: NDArray[Any], n_rows: int) -> None:
    _check_kinds({"copies": ("int32", 1)}, {"copies": copies})
    _require_shapes({"copies": copies}, {"copies": (n_rows,)})
    rows = np.arange(n_rows)
    _require(bool(((copies >= 0) & (copies <= rows)).all()), "copies must be earlier rows")
    _require(bool((copies[copies] == copies).all()), "copies must be first rows")


def _check_numbers(parameters: Parameters) -> None:
    checked_int("n_bits", parameters["n_bits"], 1, MAX_BITS)
    checked_int("n_tables", parameters["n_tables"], 1, MAX_TABLES)
    checked_int("probes", parameters["probes"], 1, MAX_PROBES)
    checked_int("rerank", parameters["rerank"], 1, MAX_ROWS)
    checked_int("seed", parameters["seed"], 0)
    checked_choice("plan", parameters.get("plan", "probe"), ("probe", "sketches", "scan"))


def _check_planes(parameters: Parameters, arrays: Arrays) -> None:
    normals, n_rows, dim = arrays["normals"], len(arrays["vectors"]), _point_dim(parameters, arrays)
    n_planes, n_keyed = len(normals), parameters["n_bits"] * parameters["n_tables"]
    _require(n_planes % 64 == 0 and n_planes >= n_keyed, f"{n_planes} hyperplanes do not fit {n_keyed} bits of keys")
    _require_shapes(arrays, {"normals": (n_planes, dim), "sketches": (n_rows, n_planes // 64)})
    _check_normals(normals)
    if "alignments" in arrays:
        _check_kinds({"alignments": ("uint8", 2)}, arrays)
        # Without columns, sketches are compared by the number of differing bits.
        shape = arrays["alignments"].shape
        _require(shape in ((n_rows, 0), (n_rows, 1)), f"alignments have shape {shape}, not {(n_rows, 1)}")


def _point_dim(parameters: Parameters, arrays: Arrays) -> int:
    """Length of what is hashed: one more than that of a vector for inner product."""
    dim = int(arrays["vectors"].shape[1])
    if parameters["metric"] != "inner_product":
        return dim
    _require(not arrays["mean"].any(), "inner product takes no mean")
    _check_kinds({"lift_mean": ("float32", 1)}, arrays)
    _require_shapes(arrays, {"lift_mean": (dim + 1,)})
    checked_vectors(arrays["lift_mean"][None, :], name="lift_mean")
    radius = parameters["radius"]
    _require(isinstance(radius, float) and 0.0 <= radius < LARGEST_VALUE**2, f"radius is {radius!r}")
    return dim + 1


def _check_normals(normals: NDArray[Any]) -> None:
    checked_vectors(normals, name="normals")
    _require(bool(normals.any(axis=1).all()), "no hyperplane may be zero")


def _check_tables(parameters: Parameters, arrays: Arrays) -> None:
    rows, starts, offsets = (arrays[f"table_{name}"] for name in ("rows", "starts", "offsets"))
    n_tables, n_rows = parameters["n_tables"], len(arrays["vectors"])
    copies = arrays.get("copies")
    n_hashed = n_rows if copies is None else len(first_rows(copies))
    _require_shapes(arrays, {"table_rows": (n_tables, n_hashed), "table_offsets": (n_tables + 1,)})
    _require(not rows.size or (rows.min() >= 0 and rows.max() < n_rows), f"rows must be from 0 to {n_rows - 1}")
    _require(bool(offsets[0] == 0 and (np.diff(offsets) >= 0).all()), "table_offsets must ascend from 0")
    _require(int(offsets[-1]) <= len(starts), "table_offsets exceed table_starts")
    _require_shapes(arrays, {"table_starts": (int(offsets[-1]) + n_tables,)})
    for table in range(n_tables):
        own = starts[offsets[table] + table : offsets[table + 1] + table + 1]
        ascend = own[0] == 0 and own[-1] == (n_hashed if len(own) > 1 else 0) and bool((np.diff(own) >= 0).all())
        _require(ascend, f"starts of table {table} must ascend from 0 to {n_hashed}")
    _check_keys(parameters["n_bits"], arrays["table_keys"], offsets)


def _check_keys(n_bits: int, keys: NDArray[Any], offsets: NDArray[Any]) -> None:
    n_buckets = np.diff(offsets)
    if not len(keys):
        _require(bool(np.isin(n_buckets, (0, 1 << n_bits)).all()), f"tables must have {1 << n_bits} buckets")
        return
    _require_shapes({"table_keys": keys}, {"table_keys": (int(offsets[-1]),)})
    descents = np.flatnonzero(keys[1:] <= keys[:-1]) + 1
    _require(bool(np.isin(descents, offsets).all()), "keys of a table must ascend")


def _check_lshash3(parameters: Parameters, arrays: Arrays) -> None:
    normals = arrays["normals"]
    n_tables, n_bits, dim = normals.shape
    checked_int("n_tables", n_tables, 1, MAX_TABLES)
    checked_int("n_bits", n_bits, 1, MAX_BITS)
    _require(dim == arrays["vectors"].shape[1], f"normals have shape {normals.shape}")
    _check_normals(normals.reshape(-1, dim))
    checked_choice("probe", parameters["probe"], ("plain", "hamming"))
    checked_int("seed", parameters["seed"], 0)


def _require_shapes(arrays: Arrays, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        _require(arrays[name].shape == shape, f"{name} has shape {arrays[name].shape}, not {shape}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
