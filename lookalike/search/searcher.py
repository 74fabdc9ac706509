"""`Searcher`: opens the published build once, then answers any number of queries, without Prefect.

The steps of a query: read the image (`sources`), embed it (`embedding.embedder`), find the nearest rows (`lsh`),
describe them (`results`).
"""

import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from lookalike.config.loading import parse_config
from lookalike.config.sections import QueryConfig
from lookalike.errors import ArtifactError, EmbeddingError, ImageError, LookalikeError
from lookalike.files import read_document
from lookalike.images.reading import MAX_PIXELS, read_image_file
from lookalike.lsh import Neighbors, VectorIndex, load_index
from lookalike.search.held_build import HeldBuild, hold_build
from lookalike.search.results import QueryResult, SimilarImage, similarity_of
from lookalike.search.sources import ImageSource, image_id_of, is_one_source, name_of, read_query
from lookalike.store.artifacts import Store

if TYPE_CHECKING:
    from lookalike.embedding.embedder import Embedder


class Searcher:
    """Answers queries from one published build, which stays the same however often the index is rebuilt.

    It holds files of the build open until `close`, or the end of a `with` block; after that every
    method raises ValueError.
    """

    def __init__(self, held: HeldBuild, config: QueryConfig) -> None:
        from lookalike.dataset.storage import dataset_root
        from lookalike.embedding.table import load_rows

        self.build_id = held.build.build_id
        self.config = config
        self._held = held
        self._is_closed = False
        # Earlier versions read images of this many pixels, and had no setting.
        self._max_pixels = held.build.config["dataset"].get("max_pixels", MAX_PIXELS)
        self._embeddings_folder = held.folders["embed_all"]
        self._dataset_root = dataset_root(held.folders["download_dataset"])
        self._index: VectorIndex = load_index(held.folders["build_lsh"])
        self._rows: pa.Table = load_rows(self._embeddings_folder)
        _check_same_embeddings(held.folders, len(self._index), self._rows.num_rows)

    @classmethod
    def open(cls, root: Path | str, settings: Sequence[str] = (), *, build: str | None = None) -> Self:
        """Return the searcher of a build below an artifact root: the published one, or the one with the id `build`.

        `build` may be the beginning of an id, of an experiment too. The limits on queries are those that the
        build was made with; `settings` override them, each as `query.key=value`.

        Raises ArtifactError if nothing is published there, no such build is known or it is incomplete,
        IndexFormatError if the index is damaged, EmbeddingError if index and model do not belong together.
        """
        held = hold_build(Store(root), build)
        return cls(held, parse_config({"query": held.build.config["query"]}, settings).query)

    def __len__(self) -> int:
        return len(self._open_index())

    @property
    def dim(self) -> int:
        """Number of components of an embedding."""
        return self._open_index().dim

    def __enter__(self) -> Self:
        self._open_index()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the index, its mapped files and the build's lock; closing again does nothing."""
        self._is_closed = True
        self._held.lock.release()
        for name in ("_index", "_rows", "_embedder", "_row_of_id"):
            self.__dict__.pop(name, None)

    def query(self, image: ImageSource, n: int | None = None, *, exact: bool = False) -> QueryResult:
        """Return the min(n, len) images most similar to `image`, nearest first; n defaults to `query.n` of the config.

        `image` is a path, an http(s) URL, encoded bytes, a file object opened with mode 'rb', a Pillow
        image, a NumPy array (height, width[, channels]) of uint8 or of floats from 0 to 1, or
        `id:<image_id>` (the stored image itself is then the first answer). `exact` compares with every
        image instead of asking the index.

        Raises ValueError for n below 1, and ImageError, DownloadError or EmbeddingError for a query that
        cannot be answered.
        """
        n, index = self._checked_n(n), self._open_index()
        if image_id_of(image) is None:
            _ = self._embedder  # Loading the network is no part of a query's time.
        started = time.perf_counter()
        vector, file = self._embed(image)
        return self._answer(index, vector, n, exact, name_of(image), started, file)

    def query_vector(
        self, vector: ArrayLike, n: int | None = None, *, exact: bool = False, name: str = "<vector>"
    ) -> QueryResult:
        """Return the min(n, len) images nearest to `vector` (dim,), nearest first; n defaults to `query.n`.

        `vector` is an embedding as the collection has them: not centred, not normalised. `name` is what the result
        calls it. Raises ValueError for n below 1, another shape or values that are not finite, TypeError for a vector
        that does not hold real numbers.
        """
        n, index = self._checked_n(n), self._open_index()
        return self._answer(index, np.asarray(vector), n, exact, name, time.perf_counter(), b"")

    def _answer(
        self, index: VectorIndex, vector: NDArray[Any], n: int, exact: bool, name: str, started: float, file: bytes
    ) -> QueryResult:
        answer = index.search_exact(vector, n) if exact else index.query(vector, n)
        return QueryResult(
            query=name,
            neighbors=self._describe(answer),
            candidates=answer.candidates,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
            dataset_root=self._dataset_root,
            query_image=file,
        )

    def query_many(
        self, images: Iterable[ImageSource], n: int | None = None, *, exact: bool = False
    ) -> list[QueryResult]:
        """Return the answers to several queries, in order; a query that fails has `error` set, and the others go on.

        Raises TypeError for a single image, and ValueError for n below 1.
        """
        if is_one_source(images):
            raise TypeError(f"query_many takes a list of images, got one {type(images).__name__}; use query instead")
        self._open_index()
        n = self._checked_n(n)
        return [self._query_or_error(image, n, exact) for image in images]

    def embed(self, image: ImageSource) -> NDArray[np.float32]:
        """Return the embedding (dim,) float32 of `image`, any source that `query` takes.

        It is computed like those of the collection: an image of the collection gets its stored vector, up to rounding.
        Raises ImageError, DownloadError or EmbeddingError for an image that cannot be embedded.
        """
        self._open_index()
        return self._embed(image)[0]

    def _open_index(self) -> VectorIndex:
        if self._is_closed:
            raise ValueError("this Searcher is closed; open another with Searcher.open(root)")
        return self._index

    def _query_or_error(self, image: ImageSource, n: int, exact: bool) -> QueryResult:
        try:
            return self.query(image, n, exact=exact)
        except LookalikeError as error:
            return QueryResult(query=name_of(image), error=str(error), dataset_root=self._dataset_root)

    def _checked_n(self, n: int | None) -> int:
        n = self.config.n if n is None else n
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return n

    def _embed(self, image: ImageSource) -> tuple[NDArray[np.float32], bytes]:
        """Return the embedding of a source, and an image file to show it with."""
        image_id = image_id_of(image)
        if image_id is not None:
            return self._stored(image_id)
        read = read_query(image, self.config, target_size=self._embedder.image_size, max_pixels=self._max_pixels)
        return self._embedder.embed(read.pixels), read.file

    def _stored(self, image_id: str) -> tuple[NDArray[np.float32], bytes]:
        from lookalike.embedding.table import load_vector

        row = self._row_of_id.get(image_id)
        if row is None:
            raise ImageError(f"no image with the id {image_id!r} is in the collection of {len(self):,} images")
        try:
            file = read_image_file(self._dataset_root / self._rows["path"][row].as_py())
        except ImageError:
            file = b""  # It cannot be shown; its vector is there all the same.
        return load_vector(self._embeddings_folder, row), file

    def _describe(self, answer: Neighbors) -> tuple[SimilarImage, ...]:
        # Not `take`, which imports pyarrow.compute: a twentieth of a cold query.
        rows = [self._rows.slice(row, 1).to_pylist()[0] for row in answer.ids.tolist()]
        return tuple(
            SimilarImage(
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
        from lookalike.embedding.embedder import Embedder

        return Embedder.open(self._held.folders["fine_tune"], self._embeddings_folder)

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        # Identical files share an id; any of their rows holds the same vector.
        return {image_id: row for row, image_id in enumerate(self._rows["image_id"].to_pylist())}


def _check_same_embeddings(folders: dict[str, Path], n_indexed: int, n_rows: int) -> None:
    from lookalike.embedding.table import load_metadata

    build = read_document(folders["build_lsh"] / "build.json", ArtifactError, {"fingerprint": str})
    index_fingerprint, embedding_fingerprint = build["fingerprint"], load_metadata(folders["embed_all"])["fingerprint"]
    if index_fingerprint != embedding_fingerprint or n_indexed != n_rows:
        raise EmbeddingError(
            f"the index ({n_indexed} vectors, model {index_fingerprint[:12]}) was not built from these embeddings "
            f"({n_rows} rows, model {embedding_fingerprint[:12]}); run `lookalike build` again"
        )
