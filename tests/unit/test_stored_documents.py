"""The JSON files that describe artifacts: each is read whole and of its format, or refused with one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from lookalike.dataset.storage import dataset_root
from lookalike.embedding.table import load_metadata
from lookalike.errors import ArtifactError, DatasetError, EmbeddingError, IndexFormatError, LookalikeError, ModelError
from lookalike.files import digest_of
from lookalike.lsh import storage
from lookalike.network import description
from lookalike.store.manifests import read_manifest


class Kind(NamedTuple):
    read: Callable[[Path], object]
    error: type[LookalikeError]
    content: dict


INDEX = {"format": 1, "engine": "exact", "parameters": {}, "files": {}}
SPEC = {"step": "embed_all", "code_version": "1"}
TEXTS = {"key": "k", "attempt": "a", "digest": "d"}
KINDS = {
    "model.json": Kind(
        lambda path: description.read_description(path.parent),
        ModelError,
        {"format_version": 3, "backbone": "a:b", "head": {}, "preprocessing": {}, "classes": [], "weights_sha256": "0"},
    ),
    "embedding.json": Kind(
        lambda path: load_metadata(path.parent),
        EmbeddingError,
        {"format_version": 2, "fingerprint": "0", "layer": "l", "precision": "fp32", "dim": 2, "rows": 0}
        | {"shards": [], "shard_rows": [], "preprocessing": {}},
    ),
    "dataset.json": Kind(
        lambda path: dataset_root(path.parent),
        DatasetError,
        {"format_version": 1, "root": "images", "classes": [], "counts": {}},
    ),
    "index.json": Kind(
        lambda path: storage.read_description(path.parent), IndexFormatError, INDEX | {"digest": digest_of(INDEX)}
    ),
    "manifest.json": Kind(
        read_manifest,
        ArtifactError,
        {"format_version": 1, "spec": SPEC, **TEXTS, "files": {}, "summary": {}, "seconds": 1.0},
    ),
}
CASES = {
    f"{name} {fault}": (name, data, expected)
    for name, kind in KINDS.items()
    for fault, data, expected in (
        ("missing", None, "cannot read"),
        ("empty", b"", "is not valid JSON"),
        ("truncated", b'{"a":', "is not valid JSON"),
        ("binary", b"\xff\xfe\x00", "is not valid JSON"),
        ("nested", b"[" * 100_000, "is not valid JSON"),
        ("a list", b"[]", "was altered"),
        ("null", b"null", "was altered"),
        ("earlier", {**kind.content, next(iter(kind.content)): 0}, "format 0 of an earlier version"),
        ("later", {**kind.content, next(iter(kind.content)): 99}, "format 99 of a later version"),
        *((f"without {key}", {k: v for k, v in kind.content.items() if k != key}, key) for key in kind.content),
        *((f"of wrong {key}", {**kind.content, key: None}, key) for key in kind.content),
    )
}


@pytest.mark.parametrize("name", KINDS)
def test_a_whole_document_is_read(tmp_path, name):
    (tmp_path / name).write_text(json.dumps(KINDS[name].content))
    assert KINDS[name].read(tmp_path / name)


@pytest.mark.parametrize(("name", "data", "expected"), CASES.values(), ids=list(CASES))
def test_any_other_file_is_refused_with_one_line(tmp_path, name, data, expected):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    _assert_refused(path, expected)


@pytest.mark.parametrize("name", KINDS)
def test_what_cannot_be_read_is_refused_with_one_line(tmp_path, name):
    (tmp_path / name).mkdir()
    _assert_refused(tmp_path / name, "cannot read")


def _assert_refused(path: Path, expected: str) -> None:
    kind = KINDS[path.name]
    with pytest.raises(kind.error) as refused:
        kind.read(path)
    message = str(refused.value)
    assert expected in message
    assert str(path) in message
    assert "\n" not in message
