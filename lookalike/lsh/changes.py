"""Contents with rows added, removed, merged or hashed again, each a new value."""

from dataclasses import replace

import numpy as np

from lookalike.lsh.base import Float32Array, Int64Array
from lookalike.lsh.content import (
    Content,
    Segment,
    content_of_segment,
    keys_of_sketches,
    new_content,
    rows_of_ids,
    tables_of_first_rows,
)
from lookalike.lsh.copies import FirstCopies, first_copies_with_more
from lookalike.lsh.hyperplanes import hash_rows
from lookalike.lsh.space import space_of_rows
from lookalike.lsh.tables import build_tables
from lookalike.lsh.vectors import as_stored

# Each addition builds the tail's tables again, so it stays short; dead rows cost a test each.
_TAIL_ROWS_ALWAYS = 1024
_TAIL_SHARE = 1 / 32
_DEAD_SHARE = 1 / 4
# The mean may move by this share of the spread (the root of the mean squared distance to it) before rows are hashed
# again; the spread is estimated from about so many rows.
_LARGEST_MOVE = 1 / 4
_ROWS_FOR_SPREAD = 10_000


def with_rows(content: Content, vectors: Float32Array, ids: Int64Array) -> Content:
    """The content and more rows; raises ValueError for an id that is there already."""
    present = np.isin(ids, content.living_ids())
    if present.any():
        raise ValueError(f"ids must be new, but {int(ids[present][0])} is in the index; remove it first")
    planes, tail = content.planes, content.tail
    added = as_stored(vectors, tail.vectors.dtype)
    scales = content.space.row_scales(added)
    keys, sketches, alignments = hash_rows(added, content.space, planes)
    old_keys = keys_of_sketches(tail.sketches, planes)
    longer = Segment(
        np.concatenate([tail.vectors, added]),
        np.concatenate([tail.scales, scales]),
        np.concatenate([tail.sketches, sketches]),
        np.concatenate([tail.alignments, alignments]),
        build_tables(np.concatenate([old_keys, keys], axis=1), planes.n_bits),
    )
    known = [(segment.vectors, segment.scales) for segment in content.segments]
    copies = first_copies_with_more(content.copies, known, added, scales)
    alive = None if content.alive is None else np.concatenate([content.alive, np.ones(len(ids), np.bool_)])
    ids = np.concatenate([content.ids, ids])
    return _tidied(replace(content, tail=longer, ids=ids, alive=alive, copies=copies))


def without_rows(content: Content, ids: Int64Array) -> Content:
    """The content less some rows; raises ValueError for an id that is not there."""
    rows = rows_of_ids(content, ids)
    alive = np.ones(len(content.ids), np.bool_) if content.alive is None else content.alive.copy()
    alive[rows] = False
    return _tidied(replace(content, alive=alive))


def compacted(content: Content) -> Content:
    """The same living rows in one segment; the content itself if it has only one already."""
    if content.alive is None and len(content.tail) == 0:
        return content
    main, tail = content.segments
    kept = content.living_rows()
    in_main, in_tail = kept[kept < len(main)], kept[kept >= len(main)] - len(main)
    vectors = np.concatenate([main.vectors[in_main], tail.vectors[in_tail]])
    scales = np.concatenate([main.scales[in_main], tail.scales[in_tail]])
    sketches = np.concatenate([main.sketches[in_main], tail.sketches[in_tail]])
    alignments = np.concatenate([main.alignments[in_main], tail.alignments[in_tail]])
    copies = None if content.copies is None else _renumbered(content.copies[kept])
    tables = tables_of_first_rows(keys_of_sketches(sketches, content.planes), copies, content.planes)
    segment = Segment(vectors, scales, sketches, alignments, tables)
    joined = content_of_segment(segment, content.ids[kept], content.space, content.planes, copies)
    return replace(joined, follows_mean=content.follows_mean)


def recentered(content: Content) -> Content:
    """The same living rows in one segment, around their mean."""
    content = compacted(content)
    vectors = content.main.vectors
    space = space_of_rows(content.space.metric, vectors, center=True)
    return new_content(vectors, content.ids, space, content.planes, content.follows_mean)


def followed(content: Content) -> Content:
    """Content of one segment, recentered if it follows its mean and that has moved far."""
    vectors = content.main.vectors
    if not content.follows_mean or not len(vectors):
        return content
    space = space_of_rows(content.space.metric, vectors, center=True)
    points = space.points(vectors[:: max(1, len(vectors) // _ROWS_FOR_SPREAD)])
    spread = np.sqrt(((points - space.hash_mean.astype(np.float64)) ** 2).sum(axis=1).mean())
    moved = np.linalg.norm(space.hash_mean.astype(np.float64) - content.space.hash_mean)
    return recentered(content) if moved > _LARGEST_MOVE * spread else content


def _renumbered(copies: FirstCopies) -> FirstCopies | None:
    """First rows in place of names of groups; None if all groups have one row."""
    _, firsts, groups = np.unique(copies, return_index=True, return_inverse=True)
    return None if len(firsts) == len(copies) else firsts[groups].astype(np.int32)


def _tidied(content: Content) -> Content:
    """The content, compacted if its tail is long or many of its rows are dead."""
    n_rows = len(content.ids)
    long_tail = len(content.tail) > max(_TAIL_ROWS_ALWAYS, _TAIL_SHARE * n_rows)
    many_dead = n_rows - len(content) > _DEAD_SHARE * n_rows
    return followed(compacted(content)) if long_tail or many_dead else content
