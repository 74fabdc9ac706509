"""A fixed model of the cost of a query, in nanoseconds on the machine of docs/engine.md.

Only ratios matter: they decide which of two plans is cheaper. Nothing is timed, so the same vectors give the
same parameters on every machine.
"""

from typing import TypeVar

from lookalike.lsh.base import Float64Array

Cost = TypeVar("Cost", float, Float64Array)

_TABLE = 400.0
_PROBE = 110.0
_ROW_IN_BUCKETS = 20.0
_ROW_IN_ORDER = 4.0
_RANKED_ROW, _RANKED_COMPONENT = 60.0, 0.2
_SCANNED_ROW, _SCANNED_COMPONENT = 30.0, 0.25
_HASHED_COMPONENT = 0.1


def probing_cost(n_tables: int, probes: int) -> float:
    """Cost of looking up `probes` buckets per table."""
    return n_tables * (_TABLE + _PROBE * probes)


def bucket_cost(rows_met: Cost) -> Cost:
    """Cost of comparing the sketches of the rows in the buckets."""
    return _ROW_IN_BUCKETS * rows_met


def all_sketches_cost(n_rows: int) -> float:
    """Cost of comparing all sketches in order."""
    return _ROW_IN_ORDER * n_rows


def ranking_cost(n_ranked: int, sketch_bits: int, dim: int) -> float:
    """Cost of hashing a query to `sketch_bits` bits and ranking `n_ranked` candidates exactly."""
    return n_ranked * (_RANKED_ROW + _RANKED_COMPONENT * dim) + sketch_bits * _HASHED_COMPONENT * dim


def scan_cost(n_rows: int, dim: int) -> float:
    """Cost of ranking all rows."""
    return n_rows * (_SCANNED_ROW + _SCANNED_COMPONENT * dim)
