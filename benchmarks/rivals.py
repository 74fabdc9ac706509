"""FAISS, hnswlib, usearch and voyager, over centred unit vectors by inner product; built and asked on one thread."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks.contenders import Contender, Measured, Search
from benchmarks.vectors import Float32Array

# Links per node and candidates per insertion of every graph.
LINKS, EF_BUILD = 32, 200
# Candidates per query of a graph: one contender each.
EFS = (48, 128, 384)


def faiss_engines(unit: Float32Array, mean: Float32Array, with_hnsw: bool) -> Iterator[Contender]:
    """FAISS: flat, LSH codes, inverted lists (vectors; quantised; one bit per component), HNSW graph."""
    import faiss

    n, dim = unit.shape
    yield _faiss("FAISS flat", faiss.IndexFlatIP(dim), unit, mean, 0.0)
    yield _faiss("FAISS IndexLSH, 2,048 bits", faiss.IndexLSH(dim, 2048), unit, mean, 256.0)
    n_lists = 2 ** int(np.log2(max(np.sqrt(n), 16)))
    n_probes, lists = max(8, n_lists // 16), 4 * dim * n_lists / n
    for name, code, size in (
        ("IVF{}", "Flat", 0.0),
        ("IVF{}, PQfs, refined", f"PQ{dim // 2}x4fs,RFlat", dim / 4),
        ("IVF{}, RaBitQ, refined", "RaBitQ,RFlat", dim / 8 + 8),
    ):
        index = faiss.index_factory(dim, f"IVF{n_lists},{code}", faiss.METRIC_INNER_PRODUCT)
        inverted = faiss.extract_index_ivf(index)
        inverted.cp.niter, inverted.cp.max_points_per_centroid, inverted.nprobe = 10, 50, n_probes
        if hasattr(index, "k_factor"):
            index.k_factor = 8
        yield _faiss(f"FAISS {name.format(n_lists)}, nprobe {n_probes}", index, unit, mean, 8.0 + lists + size)
    if with_hnsw:
        graph = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_BUILD
        yield _faiss("FAISS HNSW32, efSearch 64", graph, unit, mean, LINKS * 2 * 4 + 8.0)


def _faiss(name: str, index: Any, unit: Float32Array, mean: Float32Array, overhead: float) -> Contender:
    measured = Measured()
    measured.of(partial(_fill_faiss, index, unit))
    if hasattr(index, "hnsw"):
        index.hnsw.efSearch = 64
    return _contender(name, measured, overhead, mean, lambda queries, k: index.search(queries, k)[1])


def _fill_faiss(index: Any, unit: Float32Array) -> None:
    if not index.is_trained:
        index.train(unit)
    index.add(unit)


def graph_engines(unit: Float32Array, mean: Float32Array) -> Iterator[Contender]:
    """hnswlib, usearch and voyager: one graph each, asked with few to many candidates."""
    for name, build in (("hnswlib", _hnswlib), ("usearch", _usearch), ("voyager", _voyager)):
        measured = Measured()
        search_with = measured.of(partial(build, unit))
        for ef in EFS:
            search = partial(search_with, ef)
            yield _contender(f"{name} M {LINKS}, ef {ef}", measured, LINKS * 2 * 4 + 8.0, mean, search)


def _hnswlib(unit: Float32Array) -> Any:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=unit.shape[1])
    index.init_index(max_elements=len(unit), ef_construction=EF_BUILD, M=LINKS)
    index.add_items(unit, num_threads=1)

    def search(ef: int, queries: Float32Array, k: int) -> Any:
        index.set_ef(max(ef, k))
        return index.knn_query(queries, k, num_threads=1)[0]

    return search


def _usearch(unit: Float32Array) -> Any:
    from usearch.index import Index

    index = Index(ndim=unit.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_add=EF_BUILD)
    index.add(np.arange(len(unit)), unit, threads=1)

    def search(ef: int, queries: Float32Array, k: int) -> Any:
        index.expansion_search = max(ef, k)
        return np.atleast_2d(index.search(queries, k, threads=1).keys)

    return search


def _voyager(unit: Float32Array) -> Any:
    import voyager

    index = voyager.Index(voyager.Space.InnerProduct, unit.shape[1], M=LINKS, ef_construction=EF_BUILD)
    index.add_items(unit, num_threads=1)

    def search(ef: int, queries: Float32Array, k: int) -> Any:
        return index.query(queries, k, num_threads=1, query_ef=max(ef, k))[0]

    return search


def _contender(name: str, measured: Measured, overhead: float, mean: Float32Array, search: Search) -> Contender:
    """A contender that is asked with centred unit vectors."""

    def normalised(queries: Float32Array) -> Float32Array:
        centered = queries - mean
        return centered / np.linalg.norm(centered, axis=1, keepdims=True)

    return Contender(
        name,
        measured.seconds,
        overhead,
        lambda query, k: search(normalised(query[None, :]), k)[0],
        lambda queries, k: search(normalised(queries), k),
        peak_bytes=measured.peak_bytes,
    )
