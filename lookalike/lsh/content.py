"""What an index holds, as one immutable value: a query sees a consistent state while another thread adds or removes.

Rows are numbered through the main segment and then the tail, which holds the rows added since the last
compaction. Removed rows stay, marked, until the next compaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Int64Array, Neighbors, nearest_first
from lookalike.lsh.copies import FirstCopies, first_copies, first_rows
from lookalike.lsh.hyperplanes import Hyperplanes, Keys, hash_rows, table_keys
from lookalike.lsh.sketches import Alignments, Sketches, no_alignments
from lookalike.lsh.space import VectorSpace
from lookalike.lsh.tables import Tables, build_tables
from lookalike.lsh.vectors import StoredVectors

Alive = NDArray[np.bool_]

_ROWS_PER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """Some rows: vectors (n, dim), their scales for ranking (`VectorSpace.row_scales`), sketches, tables.

    `alignments` (n, 1) belong to the sketches; (n, 0) where differing bits are counted instead.
    """

    vectors: StoredVectors
    scales: Float32Array
    sketches: Sketches
    alignments: Alignments
    tables: Tables

    def __len__(self) -> int:
        return len(self.vectors)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All arrays, in the order that the compiled code expects."""
        tables = self.tables
        return (
            self.vectors,
            self.scales,
            self.sketches,
            self.alignments,
            tables.rows,
            tables.starts,
            tables.keys,
            tables.table_offsets,
        )


@dataclass(frozen=True, eq=False)
class Content:
    """An index at one moment: how rows are compared and hashed, and the rows, in two segments.

    `ids` are those of all rows; `alive` says which rows were not removed (None: all). `copies` gives for each row
    the first row that is equal to it (None: all rows differ); queries look only at first rows.
    """

    space: VectorSpace
    planes: Hyperplanes
    main: Segment
    tail: Segment
    ids: Int64Array
    alive: Alive | None = None
    copies: FirstCopies | None = None
    # Whether the mean is to stay near that of the rows.
    follows_mean: bool = False

    @property
    def segments(self) -> tuple[Segment, Segment]:
        """Main and tail."""
        return self.main, self.tail

    def __len__(self) -> int:
        return len(self.ids) if self.alive is None else int(np.count_nonzero(self.alive))

    def living_rows(self) -> Int64Array:
        """The rows that were not removed, ascending."""
        return np.arange(len(self.ids)) if self.alive is None else np.flatnonzero(self.alive)

    def living_ids(self) -> Int64Array:
        """The ids of the rows that were not removed."""
        return self.ids if self.alive is None else self.ids[self.alive]

    def stored_copies(self) -> dict[str, FirstCopies]:
        """`copies` by name, if there are any."""
        return {} if self.copies is None else {"copies": self.copies}

    @cached_property
    def searched(self) -> Alive | None:
        """The rows that queries look at: of equal rows the first, if one of them lives; None: all rows."""
        if self.copies is None:
            return self.alive
        searched = np.zeros(len(self.ids), np.bool_)
        searched[self.copies[self.living_rows()]] = True
        return searched

    @cached_property
    def searched_rows(self) -> Int64Array:
        """The rows that queries look at, ascending."""
        return np.arange(len(self.ids)) if self.searched is None else np.flatnonzero(self.searched)

    @cached_property
    def n_searched(self) -> int:
        """Number of living rows, equal ones counted once."""
        return len(self.ids) if self.searched is None else int(np.count_nonzero(self.searched))

    @cached_property
    def _copied(self) -> tuple[Int64Array, Int64Array]:
        """First rows, ascending, of the living rows that are in a group of equal ones, and their ids, ascending."""
        assert self.copies is not None
        rows = self.living_rows()
        rows = rows[np.bincount(self.copies)[self.copies[rows]] > 1]
        order = np.lexsort((self.ids[rows], self.copies[rows]))
        return self.copies[rows][order].astype(np.int64), self.ids[rows][order]

    def ids_of_copies(self, rows: Int64Array, most: int | None = None) -> tuple[Int64Array, Int64Array]:
        """For first rows (m,), the living ids of all rows equal to them, and for each the position of its row.

        Of each group come at most the `most` lowest ids.
        """
        if self.copies is None:
            return self.ids[rows], np.arange(len(rows))
        firsts, ids = self._copied
        begins, ends = np.searchsorted(firsts, rows, "left"), np.searchsorted(firsts, rows, "right")
        alone = np.flatnonzero(begins == ends)
        sizes = ends - begins if most is None else np.minimum(ends - begins, most)
        positions = np.repeat(np.arange(len(rows)), sizes)
        offsets = np.arange(len(positions)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        found = ids[begins[positions] + offsets]
        return np.concatenate([found, self.ids[rows[alone]]]), np.concatenate([positions, alone])

    def answer(self, rows: Int64Array, distances: Float32Array, k: int, candidates: int) -> Neighbors:
        """The k nearest of first rows (m,) at these distances, and of the rows equal to them."""
        ids, positions = self.ids_of_copies(rows, k)
        return nearest_first(ids, distances[positions], k, max(candidates, min(k, len(ids))))


def new_content(
    vectors: StoredVectors, ids: Int64Array, space: VectorSpace, planes: Hyperplanes, follows_mean: bool = False
) -> Content:
    """Content of checked vectors and ids; the vectors are referred to, not copied."""
    scales = space.row_scales(vectors)
    copies = first_copies(vectors, scales)
    segment = hashed_segment(vectors, scales, copies, space, planes)
    return replace(content_of_segment(segment, ids, space, planes, copies), follows_mean=follows_mean)


def unhashed_segment(vectors: StoredVectors, scales: Float32Array) -> Segment:
    """Rows that are only scanned: no sketches, no tables."""
    n_rows = len(vectors)
    no_tables = build_tables(np.empty((0, n_rows), np.uint32), 0)
    return Segment(vectors, scales, np.empty((n_rows, 0), np.uint64), no_alignments(n_rows), no_tables)


def content_of_segment(
    segment: Segment, ids: Int64Array, space: VectorSpace, planes: Hyperplanes, copies: FirstCopies | None = None
) -> Content:
    """Content of one segment."""
    no_vectors, no_scales = segment.vectors[:0], np.empty(0, np.float32)
    return Content(
        space, planes, segment, hashed_segment(no_vectors, no_scales, None, space, planes), ids, copies=copies
    )


def rows_of_ids(content: Content, ids: Int64Array) -> Int64Array:
    """The row of each id; raises ValueError for one that is not there."""
    rows = content.living_rows()
    living = content.ids[rows]
    order = np.argsort(living, kind="stable")
    places = np.searchsorted(living, ids, sorter=order)
    found = places < len(living)
    found[found] = living[order[places[found]]] == ids[found]
    if not found.all():
        raise ValueError(f"id {int(ids[~found][0])} is not in the index")
    result: Int64Array = rows[order[places]]
    return result


def keys_of_sketches(sketches: Sketches, planes: Hyperplanes) -> Keys:
    """Keys (n_tables, n) of the tables, which are the first bits of the sketches."""
    keys = np.empty((planes.n_tables, len(sketches)), np.uint32)
    if not planes.n_tables:
        return keys
    for start in range(0, len(sketches), _ROWS_PER_BLOCK):
        block = np.ascontiguousarray(sketches[start : start + _ROWS_PER_BLOCK].astype("<u8", copy=False))
        sides = np.unpackbits(block.view(np.uint8), axis=1, bitorder="little", count=planes.n_keyed)
        keys[:, start : start + len(block)] = table_keys(sides.astype(np.bool_), planes.n_tables, planes.n_bits).T
    return keys


def hashed_segment(
    vectors: StoredVectors, scales: Float32Array, copies: FirstCopies | None, space: VectorSpace, planes: Hyperplanes
) -> Segment:
    """A segment whose equal rows are hashed once."""
    keys, sketches, alignments = hash_distinct_rows(vectors, copies, space, planes)
    return Segment(vectors, scales, sketches, alignments, tables_of_first_rows(keys, copies, planes))


def hash_distinct_rows(
    vectors: StoredVectors, copies: FirstCopies | None, space: VectorSpace, planes: Hyperplanes
) -> tuple[Keys, Sketches, Alignments]:
    """`hash_rows` of all rows; equal rows are hashed once."""
    if copies is None:
        return hash_rows(vectors, space, planes)
    firsts, groups = np.unique(copies, return_inverse=True)
    keys, sketches, alignments = hash_rows(vectors[firsts], space, planes)
    return keys[:, groups], sketches[groups], alignments[groups]


def tables_of_first_rows(keys: Keys, copies: FirstCopies | None, planes: Hyperplanes) -> Tables:
    """Tables of the rows with the given keys (n_tables, n), of equal rows only the first."""
    if copies is None:
        return build_tables(keys, planes.n_bits)
    firsts = first_rows(copies)
    tables = build_tables(keys[:, firsts], planes.n_bits)
    return replace(tables, rows=firsts.astype(np.int32)[tables.rows])


def take(segments: Sequence[Segment], name: str, rows: Int64Array) -> NDArray[Any]:
    """One array of the segments at the given rows, which must ascend."""
    taken: NDArray[Any]
    if len(rows) == 0 or rows[-1] < len(segments[0]):
        taken = getattr(segments[0], name)[rows]
        return taken
    pieces = []
    for first, segment in numbered(segments):
        begin, end = np.searchsorted(rows, [first, first + len(segment)])
        pieces.append(getattr(segment, name)[rows[begin:end] - first])
    return np.concatenate(pieces)


def numbered(segments: Sequence[Segment]) -> list[tuple[int, Segment]]:
    """The segments, each with the number of its first row."""
    firsts = np.cumsum([0] + [len(segment) for segment in segments]).tolist()
    return list(zip(firsts, segments, strict=False))
