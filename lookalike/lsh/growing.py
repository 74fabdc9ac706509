"""`GrowingIndex`: an index whose vectors come and go."""

import numpy as np
from numpy.typing import ArrayLike

from lookalike.lsh.changes import compacted, followed, recentered, with_rows, without_rows
from lookalike.lsh.checks import checked_ids, checked_vectors
from lookalike.lsh.index import VectorIndex


class GrowingIndex(VectorIndex):
    """A `VectorIndex` with additions and removals.

    Queries may run in several threads meanwhile; changes must not run concurrently.
    """

    def add(self, vectors: ArrayLike, ids: ArrayLike) -> None:
        """Add vectors (n, dim) under new ids (n,); answers then equal those of a new index with the same mean.

        One call with many vectors is far cheaper than many calls.

        Raises:
            ValueError: an id is in the index already, or the vectors are invalid; nothing was added.
        """
        rows = checked_vectors(vectors, self.dim)
        self._content = with_rows(self._content, rows, checked_ids(ids, len(rows)))

    def upsert(self, vectors: ArrayLike, ids: ArrayLike) -> None:
        """Add vectors (n, dim) under ids (n,), in place of the vectors that have these ids already, if any.

        Raises:
            ValueError: the vectors are invalid, or an id occurs twice; nothing was changed.
        """
        rows = checked_vectors(vectors, self.dim)
        row_ids = checked_ids(ids, len(rows))
        present = np.intersect1d(row_ids, self.ids)
        self._content = with_rows(without_rows(self._content, present), rows, row_ids)

    def remove(self, ids: ArrayLike) -> None:
        """Remove the vectors with these ids (n,); they may be added again later.

        Raises:
            ValueError: an id is not in the index; nothing was removed.
        """
        self._content = without_rows(self._content, checked_ids(ids, np.size(np.asarray(ids))))

    def compact(self) -> None:
        """Free the memory of removed vectors and merge added ones; `add` and `remove` do so when there are many.

        If the mean was that of the vectors when the index was built, and theirs has moved away from it since by more
        than a quarter of their spread, the index is also recentered.
        """
        self._content = followed(compacted(self._content))

    def recenter(self) -> None:
        """Subtract the mean of the present vectors from now on, and hash them again.

        Cosine distances change with the mean; the answers then equal those of a new index.
        """
        self._content = recentered(self._content)
