"""`Searcher`: opens the published build once, then answers any number of queries, without Prefect."""

import os
import time
import weakref
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from lookalike.config import QueryConfig
from lookalike.config_loading import parse_config
from lookalike.errors import ArtifactError, EmbeddingError, ImageError, LookalikeError
from lookalike.files import read_json
from lookalike.images import open_image
from lookalike.locks import hold_shared
from lookalike.lsh import Neighbors, VectorIndex, load_index
from lookalike.search.results import Neighbor, QueryResult, similarity_of
from lookalike.search.sources import ImageSource, image_id_of, name_of, read_image_bytes
from lookalike.store import Store

if TYPE_CHECKING:
    from lookalike.embedding import Embedder


class Searcher:
    """Answers queries from one published build, which stays the same however often the index is rebuilt."""

    def __init__(self, folders: dict[str, Path], config: QueryConfig, build_id: str, in_use: int | None) -> None:
        from lookalike.dataset.storage import dataset_root
        from lookalike.embedding import load_rows

        self.build_id = build_id
        if in_use is not None:
            # Held while this object lives: the garbage collector leaves a build in use alone.
            weakref.finalize(self, os.close, in_use)
        self.config = config
        self._model_folder = folders["fine_tune"]
        self._embeddings_folder = folders["embed_all"]
        self._dataset_root = dataset_root(folders["download_dataset"])
        self._index: VectorIndex = load_index(folders["build_lsh"])
        self._rows: pa.Table = load_rows(self._embeddings_folder)
        _check_same_embeddings(folders, len(self._index), self._rows.num_rows)

    @classmethod
    def open(cls, root: Path | str, settings: Sequence[str] = ()) -> Self:
        """The searcher of the published build below an artifact root.

        The limits on queries are those that the build was made with; `settings` override them,
        each as `query.key=value`.

        Raises ArtifactError if nothing is published there or the build is incomplete,
        IndexFormatError if the index is damaged, EmbeddingError if index and model do not belong together.
        """
        store = Store(Path(root))
        record, in_use = _hold_current(store)
        folders = {step: store.root / relative for step, relative in record["artifacts"].items()}
        for step, folder in folders.items():
            if not folder.is_dir():
                raise ArtifactError(f"the published build lacks {folder} ({step}); run `lookalike build` again")
        config = parse_config({"query": record["config"]["query"]}, settings).query
        return cls(folders, config, record["build_id"], in_use)

    def __len__(self) -> int:
        return len(self._index)

    def query(self, image: ImageSource, n: int | None = None, *, exact: bool = False) -> QueryResult:
        """The min(n, len) images most similar to `image`, nearest first; n defaults to `query.n` of the config.

        `image` is a path, an http(s) URL, `id:<image_id>` (the stored image itself is then the
        first answer), encoded bytes or a Pillow image. `exact` compares with every image instead
        of asking the index. Raises ValueError for n below 1, and ImageError, DownloadError or
        EmbeddingError for a query that cannot be answered.
        """
        n = self._checked_n(n)
        if image_id_of(image) is None:
            _ = self._embedder  # Loading the network is no part of a query's time.
        started = time.perf_counter()
        data, vector = self._embed(image)
        answer = self._index.search_exact(vector, n) if exact else self._index.query(vector, n)
        return QueryResult(
            query=name_of(image),
            neighbors=self._neighbors(answer),
            candidates=answer.candidates,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
            dataset_root=self._dataset_root,
            query_image=data,
        )

    def query_many(
        self, images: Sequence[ImageSource], n: int | None = None, *, exact: bool = False
    ) -> list[QueryResult]:
        """The answers to several queries, in order; a query that fails has `error` set and does not spoil the rest."""
        n = self._checked_n(n)
        return [self._query_or_error(image, n, exact) for image in images]

    def _query_or_error(self, image: ImageSource, n: int, exact: bool) -> QueryResult:
        try:
            return self.query(image, n, exact=exact)
        except LookalikeError as error:
            return replace(_FAILED, query=name_of(image), error=str(error), dataset_root=self._dataset_root)

    def _checked_n(self, n: int | None) -> int:
        n = self.config.n if n is None else n
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return n

    def _embed(self, image: ImageSource) -> tuple[bytes, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
        image_id = image_id_of(image)
        if image_id is not None:
            return self._stored(image_id)
        data = read_image_bytes(image, self.config)
        picture = open_image(data, target_size=self._embedder.image_size)
        return data, self._embedder.embed(picture)

    def _stored(self, image_id: str) -> tuple[bytes, "np.ndarray[tuple[int], np.dtype[np.float32]]"]:
        from lookalike.embedding import load_vector

        row = self._row_of_id.get(image_id)
        if row is None:
            raise ImageError(f"no image with the id {image_id!r} is in the collection of {len(self):,} images")
        path = self._dataset_root / self._rows["path"][row].as_py()
        data = path.read_bytes() if path.is_file() else b""
        return data, load_vector(self._embeddings_folder, row)

    def _neighbors(self, answer: Neighbors) -> tuple[Neighbor, ...]:
        # Not pa.array, which imports pandas: 0.3 s of a cold query.
        numbers = pa.Array.from_buffers(pa.int64(), len(answer), [None, pa.py_buffer(answer.ids.tobytes())])
        rows = self._rows.take(numbers).to_pylist()
        return tuple(
            Neighbor(
                rank=rank,
                image_id=row["image_id"],
                path=row["path"],
                label=row["label"],
                distance=round(float(distance), 6),
                similarity=similarity_of(float(distance), self._index.metric),
            )
            for rank, (row, distance) in enumerate(zip(rows, answer.distances, strict=True), start=1)
        )

    @cached_property
    def _embedder(self) -> "Embedder":
        # Only here is the network loaded: a query by id needs none.
        from lookalike.embedding import Embedder

        return Embedder.open(self._model_folder, self._embeddings_folder)

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        # Identical files share an id; any of their rows holds the same vector.
        return {image_id: row for row, image_id in enumerate(self._rows["image_id"].to_pylist())}


_FAILED = QueryResult(query="", neighbors=(), candidates=0, latency_ms=0.0)


def _hold_current(store: Store) -> tuple[dict[str, Any], int | None]:
    """The published build's record, and the lock that keeps the garbage collector away from it."""
    while True:
        record = store.read_current()
        if record is None:
            raise ArtifactError(f"nothing is published below {store.root}; run `lookalike build` first")
        in_use = hold_shared(store.root, f"build-{record['build_id']}")
        # Another build may have become current before the lock was held, and this one been cleared away.
        if in_use is None or store.read_current() == record:
            return record, in_use
        os.close(in_use)


def _check_same_embeddings(folders: dict[str, Path], n_indexed: int, n_rows: int) -> None:
    index_fingerprint = read_json(folders["build_lsh"] / "build.json", ArtifactError)["fingerprint"]
    embedding_fingerprint = read_json(folders["embed_all"] / "embedding.json", ArtifactError)["fingerprint"]
    if index_fingerprint != embedding_fingerprint or n_indexed != n_rows:
        raise EmbeddingError(
            f"the index ({n_indexed} vectors, model {index_fingerprint[:12]}) was not built from these embeddings "
            f"({n_rows} rows, model {embedding_fingerprint[:12]}); run `lookalike build` again"
        )
