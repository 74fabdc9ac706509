"""Files of vectors from elsewhere: what is read of every form, and what is refused in one line."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.config.loading import load_config
from lookalike.dataset.vector_catalog import read_vectors
from lookalike.dataset.vector_files import read_blocks
from lookalike.errors import LookalikeError
from lookalike.limits import LARGEST_COMPONENT
from lookalike.lsh.checks import LARGEST_VALUE
from lookalike.pipeline.preflight import check_before_start

GOOD = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]


def table(embedding=None, **columns):
    embedding = pa.array(GOOD, pa.list_(pa.float32())) if embedding is None else embedding
    return pa.table({"id": ["a", "b", "c"][: len(embedding)], "embedding": embedding, **columns})


def settings(path, *more):
    return load_config(
        None, ["dataset.source=vectors", f"dataset.vectors={path}", f"artifacts.root={path.parent / 'root'}", *more]
    )


WRONG_TABLES = {
    "missing column": (table().drop_columns(["id"]), "lacks the column id; it has embedding; expected id"),
    "wrong type of id": (table(id=[1.0, 2.0, 3.0]), "the column id is of type double; expected id"),
    "wrong type": (table(pa.array([[1, 2], [3, 4]])), r"embedding is of type list<.*int64.*>; expected"),
    "no lists": (table(pa.array([1.0, 2.0, 3.0])), "embedding is of type double; expected"),
    "NaN": (table(pa.array([[1.0, 2.0], [np.nan, 4.0]])), r"row 1 \(counted from 0\) has a component that is NaN"),
    "infinite": (table(pa.array([[1.0, 2.0], [1e300, 4.0]])), "row 1 .* infinite, or beyond 1e"),
    "null component": (table(pa.array([[1.0, 2.0], [None, 4.0]])), "row 1 .* has a component that is null"),
    "null row": (table(pa.array([[1.0, 2.0], None])), "row 1 .* has no embedding"),
    "ragged": (table(pa.array([[1.0, 2.0], [3.0]])), "row 1 .* has 1 components, the rows before have 2"),
    "empty lists": (table(pa.array([[], []], pa.list_(pa.float32()))), "row 0 .* has an empty embedding"),
    "duplicate id": (table(id=["a", "b", "a"]), "row 2 .* has the id 'a', which a row before has too"),
    "null id": (table(id=["a", None, "c"]), "row 1 .* has no id"),
    "no rows": (table().slice(0, 0), "holds no vectors"),
    "one row": (table().slice(0, 1), "holds a single vector"),
    "unknown split": (
        table(split=["train", "valid", "later"]),
        "row 2 .* has the split 'later'; expected train",
    ),
    "no split in some": (table(split=["train", "valid", None]), "1 rows have no split"),
    "nothing held out": (table(split=["train"] * 3), "0 of 3 vectors are held out"),
    "labels once": (table(label=["x", "y", "z"]), "set dataset.labels=none if no label occurs twice"),
}


@pytest.mark.parametrize("name", WRONG_TABLES)
def test_a_wrong_table_is_refused_before_anything_starts(name, tmp_path):
    content, message = WRONG_TABLES[name]
    pq.write_table(content, tmp_path / "vectors.parquet")
    with pytest.raises(LookalikeError, match=message) as refusal:
        check_before_start(settings(tmp_path / "vectors.parquet"))
    assert "vectors.parquet" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3), np.int64), r"must hold floats of shape \(n, dim\), got int64 \(2, 3\)"),
        (np.zeros(3), r"must hold floats of shape \(n, dim\), got float64 \(3,\)"),
        (np.array([[1.0, np.nan], [1.0, 1.0]]), r"row 0 .* NaN"),
        (np.zeros((0, 3)), "vectors.npy"),
        (np.array([["a", None]], object), "cannot read .*Python objects"),
    ],
)
def test_a_wrong_array_is_refused(array, message, tmp_path):
    np.save(tmp_path / "vectors.npy", array, allow_pickle=True)
    with pytest.raises(LookalikeError, match=message):
        check_before_start(settings(tmp_path / "vectors.npy"))


@pytest.mark.parametrize("name", ["vectors.parquet", "vectors.npy", "vectors.csv", "folder", "nowhere.npy"])
def test_other_files_are_refused(name, tmp_path):
    (tmp_path / "folder").mkdir()
    if name.startswith("vectors"):
        (tmp_path / name).write_bytes(b"no vectors at all")
    with pytest.raises(LookalikeError, match=name.replace(".", r"\.")) as refusal:
        check_before_start(settings(tmp_path / name))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float16(), 2), pa.list_(pa.float32(), 2)]
)
def test_every_form_of_parquet_gives_the_same_rows(kind, tmp_path):
    values = [np.array(row, np.float16) for row in GOOD] if "half" in str(kind) else GOOD
    for number, rows in enumerate((slice(0, 2), slice(2, 3))):
        ids = pa.array([10, 11, 12][rows])
        pq.write_table(table(pa.array(values[rows], kind), id=ids), tmp_path / f"{number}.parquet")
    blocks = list(read_blocks(tmp_path))
    assert np.array_equal(np.concatenate([block.vectors for block in blocks]), np.array(GOOD, np.float32))
    assert [name for block in blocks for name in block.texts["id"].to_pylist()] == ["10", "11", "12"]
    # The digest and the rows do not depend on how the rows are cut into files.
    pq.write_table(table(id=["10", "11", "12"]), tmp_path / "whole.parquet")
    whole = read_vectors(settings(tmp_path / "whole.parquet").dataset)
    (tmp_path / "whole.parquet").unlink()
    assert read_vectors(settings(tmp_path).dataset) == whole


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_the_ids_of_an_array_are_its_row_numbers(kind, tmp_path):
    np.save(tmp_path / "v.npy", np.array(GOOD, kind))
    (block,) = read_blocks(tmp_path / "v.npy")
    assert block.texts["id"].to_pylist() == ["0", "1", "2"]
    assert np.array_equal(block.vectors, np.array(GOOD, np.float32))
    assert block.vectors.dtype == np.float32


def test_components_are_as_large_as_the_index_takes():
    assert LARGEST_COMPONENT == LARGEST_VALUE
