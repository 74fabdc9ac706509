"""What an index holds, as one immutable value: a query sees a consistent state while another thread adds or removes.

Rows are numbered through the main segment and then the tail, which holds the rows added since the last
compaction. Removed rows stay, marked, until the next compaction.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.lsh.base import Float32Array, Int64Array
from lookalike.lsh.hyperplanes import Hyperplanes, Keys, Sketches, hash_rows, table_keys
from lookalike.lsh.space import VectorSpace
from lookalike.lsh.tables import Tables, build_tables

Alive = NDArray[np.bool_]

# Each addition builds the tail's tables again, so it stays short; dead rows cost a test each.
_TAIL_ROWS_ALWAYS = 1024
_TAIL_SHARE = 1 / 32
_DEAD_SHARE = 1 / 4
_ROWS_PER_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Segment:
    """Some rows: vectors (n, dim), their scales for ranking (`VectorSpace.row_scales`), sketches, tables."""

    vectors: Float32Array
    scales: Float32Array
    sketches: Sketches
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
            tables.rows,
            tables.starts,
            tables.keys,
            tables.table_offsets,
        )


@dataclass(frozen=True, slots=True)
class Content:
    """An index at one moment: how rows are compared and hashed, and the rows, in two segments.

    `ids` are those of all rows; `alive` says which rows were not removed (None: all).
    """

    space: VectorSpace
    planes: Hyperplanes
    main: Segment
    tail: Segment
    ids: Int64Array
    alive: Alive | None = None

    @property
    def segments(self) -> tuple[Segment, Segment]:
        """Main and tail."""
        return self.main, self.tail

    def __len__(self) -> int:
        return len(self.ids) if self.alive is None else int(np.count_nonzero(self.alive))

    def living_ids(self) -> Int64Array:
        """The ids of the rows that were not removed."""
        return self.ids if self.alive is None else self.ids[self.alive]


def new_content(vectors: Float32Array, ids: Int64Array, space: VectorSpace, planes: Hyperplanes) -> Content:
    """Content of checked vectors and ids; the vectors are referred to, not copied."""
    return content_of_segment(_new_segment(vectors, space, planes), ids, space, planes)


def unhashed_segment(vectors: Float32Array, scales: Float32Array) -> Segment:
    """Rows that are only scanned: no sketches, no tables."""
    n_rows = len(vectors)
    return Segment(vectors, scales, np.empty((n_rows, 0), np.uint64), build_tables(np.empty((0, n_rows), np.uint32), 0))


def content_of_segment(segment: Segment, ids: Int64Array, space: VectorSpace, planes: Hyperplanes) -> Content:
    """Content of one segment."""
    no_rows = _new_segment(np.empty((0, space.dim), np.float32), space, planes)
    return Content(space, planes, segment, no_rows, ids)


def with_rows(content: Content, vectors: Float32Array, ids: Int64Array) -> Content:
    """The content and more rows; raises ValueError for an id that is there already."""
    present = np.isin(ids, content.living_ids())
    if present.any():
        raise ValueError(f"ids must be new, but {int(ids[present][0])} is in the index; remove it first")
    planes, tail = content.planes, content.tail
    keys, sketches = hash_rows(vectors, content.space.mean, planes)
    old_keys = keys_of_sketches(tail.sketches, planes)
    longer = Segment(
        np.concatenate([tail.vectors, vectors]),
        np.concatenate([tail.scales, content.space.row_scales(vectors)]),
        np.concatenate([tail.sketches, sketches]),
        build_tables(np.concatenate([old_keys, keys], axis=1), planes.n_bits),
    )
    alive = None if content.alive is None else np.concatenate([content.alive, np.ones(len(ids), np.bool_)])
    return _tidied(replace(content, tail=longer, ids=np.concatenate([content.ids, ids]), alive=alive))


def without_rows(content: Content, ids: Int64Array) -> Content:
    """The content less some rows; raises ValueError for an id that is not there."""
    rows = rows_of_ids(content, ids)
    alive = np.ones(len(content.ids), np.bool_) if content.alive is None else content.alive.copy()
    alive[rows] = False
    return _tidied(replace(content, alive=alive))


def rows_of_ids(content: Content, ids: Int64Array) -> Int64Array:
    """The row of each id; raises ValueError for one that is not there."""
    rows = np.arange(len(content.ids)) if content.alive is None else np.flatnonzero(content.alive)
    living = content.ids[rows]
    order = np.argsort(living, kind="stable")
    places = np.searchsorted(living, ids, sorter=order)
    found = places < len(living)
    found[found] = living[order[places[found]]] == ids[found]
    if not found.all():
        raise ValueError(f"id {int(ids[~found][0])} is not in the index")
    result: Int64Array = rows[order[places]]
    return result


def compacted(content: Content) -> Content:
    """The same living rows in one segment; the content itself if it has only one already."""
    if content.alive is None and len(content.tail) == 0:
        return content
    main, tail = content.segments
    kept = np.ones(len(content.ids), np.bool_) if content.alive is None else content.alive
    in_main, in_tail = kept[: len(main)], kept[len(main) :]
    sketches = np.concatenate([main.sketches[in_main], tail.sketches[in_tail]])
    segment = Segment(
        np.concatenate([main.vectors[in_main], tail.vectors[in_tail]]),
        np.concatenate([main.scales[in_main], tail.scales[in_tail]]),
        sketches,
        build_tables(keys_of_sketches(sketches, content.planes), content.planes.n_bits),
    )
    return content_of_segment(segment, content.ids[kept], content.space, content.planes)


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


def _new_segment(vectors: Float32Array, space: VectorSpace, planes: Hyperplanes) -> Segment:
    keys, sketches = hash_rows(vectors, space.mean, planes)
    return Segment(vectors, space.row_scales(vectors), sketches, build_tables(keys, planes.n_bits))


def _tidied(content: Content) -> Content:
    """The content, compacted if its tail is long or many of its rows are dead."""
    n_rows = len(content.ids)
    long_tail = len(content.tail) > max(_TAIL_ROWS_ALWAYS, _TAIL_SHARE * n_rows)
    many_dead = n_rows - len(content) > _DEAD_SHARE * n_rows
    return compacted(content) if long_tail or many_dead else content
