"""Figures about an index, and why a query finds a vector or misses it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float64Array
from lookalike.lsh.chances import chances_to_miss
from lookalike.lsh.content import Content, Segment, keys_of_sketches
from lookalike.lsh.hyperplanes import BITS_PER_WORD, Hyperplanes, Keys, hash_query
from lookalike.lsh.probing import probe_sequence
from lookalike.lsh.space import PreparedQuery
from lookalike.lsh.vectors import storage_of

_SAMPLE_ROWS = 10_000


def index_stats(content: Content) -> dict[str, Any]:
    """Size, memory, occupancy of each table, and balance and correlation of the bits, fit for JSON."""
    rows, planes = len(content.ids), content.planes
    overhead = sum(array.nbytes for segment in content.segments for array in segment.arrays()[1:] if array is not None)
    return {
        "n_vectors": len(content),
        "n_removed": rows - len(content),
        "n_in_tail": len(content.tail),
        "dim": planes.normals.shape[1],
        "n_bits": planes.n_bits,
        "n_tables": planes.n_tables,
        "sketch_bits": planes.sketch_bits,
        "storage": storage_of(content.main.vectors),
        "bytes_per_vector": content.main.vectors.itemsize * planes.normals.shape[1],
        "overhead_bytes_per_vector": (overhead + content.ids.nbytes) / max(rows, 1),
        "tables": [_table_stats(content.main, table) for table in range(planes.n_tables)],
        "bits": _bit_stats(content.main, planes),
    }


def _table_stats(segment: Segment, table: int) -> dict[str, Any]:
    sizes = np.sort(segment.tables.bucket_sizes(table))
    if not len(sizes):
        return {"occupied_buckets": 0, "largest_buckets": [], "mean_size": 0.0, "gini": 0.0, "rows_met": 0.0}
    return {
        "occupied_buckets": len(sizes),
        "largest_buckets": sizes[::-1][:5].tolist(),
        "mean_size": float(sizes.mean()),
        "gini": gini(sizes),
        # How many rows a stored vector shares its bucket with, on average: the cost of one probe.
        "rows_met": float((sizes.astype(np.float64) ** 2).sum() / sizes.sum()),
    }


def gini(sizes: NDArray[np.int64]) -> float:
    """Gini coefficient of ascending positive sizes: 0 when all are equal, towards 1 when one holds everything."""
    ranks = np.arange(1, len(sizes) + 1)
    return float((2 * ranks - len(sizes) - 1) @ sizes / (len(sizes) * sizes.sum()))


def _bit_stats(segment: Segment, planes: Hyperplanes) -> dict[str, float]:
    """Balance and correlation of the tables' bits over rows spread evenly through the index."""
    if len(segment) < 2:
        return {"mean_share_of_ones": 0.0, "least_balanced": 0.0, "mean_absolute_correlation": 0.0}
    some = segment.sketches[:: max(1, len(segment) // _SAMPLE_ROWS)]
    words = np.ascontiguousarray(some.astype("<u8", copy=False)).view(np.uint8)
    bits = np.unpackbits(words, axis=1, bitorder="little", count=planes.n_keyed).astype(np.float64)
    shares = bits.mean(axis=0)
    spread = bits.std(axis=0)
    scaled = (bits - shares) / np.where(spread > 0, spread, 1.0)
    correlations = scaled.T @ scaled / len(bits)
    pairs = correlations[np.triu_indices(len(correlations), 1)]
    return {
        "mean_share_of_ones": float(shares.mean()),
        "least_balanced": float(shares[np.abs(shares - 0.5).argmax()]),
        "mean_absolute_correlation": float(np.abs(pairs).mean()) if len(pairs) else 0.0,
    }


def explain_match(content: Content, query: PreparedQuery, row: int, n_probes: int) -> dict[str, Any]:
    """The distance, the angle, in which tables and at which probe the row is found, and the chance to miss it.

    `chance_to_miss` is the chance for a random neighbor at this angle, given this query's distances to the
    hyperplanes; `chance_to_miss_without_probing` is (1 - p^n_bits)^n_tables with p = 1 - angle / pi, over all
    random hyperplanes.
    """
    space, planes = content.space, content.planes
    segment, place = (content.main, row) if row < len(content.main) else (content.tail, row - len(content.main))
    vector = segment.vectors[place]
    keys, sketch, margins = hash_query(query, space, planes)
    stored = keys_of_sketches(segment.sketches[place : place + 1], planes)[:, 0]
    tables, buckets, _ = probe_sequence(keys, margins, n_probes)
    hash_mean = space.hash_mean.astype(np.float64)
    own_point, point = query.point - hash_mean, space.points(vector[None, :])[0] - hash_mean
    coordinates = np.sqrt(margins) / max(float(np.linalg.norm(own_point)), 1e-300)
    angle = _angle(own_point, point)
    same_side = 1.0 - angle / np.pi
    return {
        "distance": float(space.distances(vector[None, :], query)[0]),
        "angle_degrees": float(np.degrees(angle)),
        "same_side_probability": same_side,
        "found": bool(_places(stored, tables, buckets)),
        "tables": _table_matches(keys, stored, tables, buckets, segment),
        "sketch_bits_differing": int(np.bitwise_count(segment.sketches[place] ^ sketch.words).sum()),
        "sketch_bits": len(sketch.words) * BITS_PER_WORD,
        "chance_to_miss": float(
            chances_to_miss(keys, coordinates, tables, buckets, np.array([np.cos(angle)]), len(hash_mean))[0]
        ),
        "chance_to_miss_without_probing": float((1.0 - same_side**planes.n_bits) ** planes.n_tables),
    }


def _places(stored: Keys, tables: NDArray[np.int64], buckets: Keys) -> list[int]:
    """Positions in the probe sequence of the buckets that hold the row."""
    positions: list[int] = np.flatnonzero(stored[tables] == buckets).tolist()
    return positions


def _table_matches(
    keys: Keys, stored: Keys, tables: NDArray[np.int64], buckets: Keys, segment: Segment
) -> list[dict[str, Any]]:
    probes = {int(tables[place]): place + 1 for place in _places(stored, tables, buckets)}
    every = np.arange(len(keys))
    sizes = segment.tables.bucket_ranges(every, stored)[1]
    return [
        {
            "table": table,
            "query_bucket": int(keys[table]),
            "stored_bucket": int(stored[table]),
            "bits_differing": int(np.bitwise_count(keys[table] ^ stored[table])),
            "bucket_size": int(sizes[table]),
            "found_at_probe": probes.get(table),
        }
        for table in every.tolist()
    ]


def _angle(first: Float64Array, second: Float64Array) -> float:
    """Angle in radians; a right one where a vector is zero."""
    norms = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.arccos(np.clip(first @ second / norms, -1.0, 1.0))) if norms > 0.0 else float(np.pi / 2)
