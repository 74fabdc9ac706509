import gc
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.embedding.table import load_vector
from lookalike.errors import ImageError
from lookalike.search import Searcher
from lookalike.search.page import render_page
from lookalike.search.picture import draw_results
from lookalike.store.artifacts import Store
from tests.servers import LocalServer, content

CASES = Path(__file__).parents[2] / "data" / "images"


def forbid(folder, monkeypatch):
    """Take away all rights on a folder, also from a user who may do anything."""
    stat = Path.stat

    def forbidding(path, **options):
        if path.is_relative_to(folder):
            raise PermissionError(13, os.strerror(13))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", forbidding)


def all_ways(path, server):
    """The same image as every kind of source."""
    data = path.read_bytes()
    with Image.open(path) as image:
        yield from (str(path), path, data, io.BytesIO(data), server.serve("/image", content(data)), image)


@pytest.mark.parametrize(
    "name", ["rot6.jpg", "cmyk.jpg", "jpg_swapped_icc.jpg", "avif_mif1.avif", "tif_rgb16_planar.tif"]
)
def test_every_way_in_gives_the_same_vector(searcher, name):
    with LocalServer() as server:
        vectors = [searcher.embed(source) for source in all_ways(CASES / name, server)]
    assert vectors[0].shape == (16,)
    assert vectors[0].dtype == np.float32
    for vector in vectors[1:]:
        np.testing.assert_array_equal(vector, vectors[0])


def test_an_image_of_the_collection_has_the_vector_that_is_stored(searcher):
    row = searcher._rows.slice(3, 1).to_pylist()[0]
    stored = load_vector(searcher._embeddings_folder, 3)
    np.testing.assert_array_equal(searcher.embed(f"id:{row['image_id']}"), stored)
    path = searcher._dataset_root / row["path"]
    for source in (path, path.read_bytes(), np.asarray(Image.open(path)), np.asarray(Image.open(path)) / 255):
        np.testing.assert_allclose(searcher.embed(source), stored, rtol=1e-4, atol=1e-5)
        assert searcher.query(source, 1).neighbors[0].image_id == row["image_id"]


def test_a_decoded_photograph_has_nearly_the_vector_of_its_file(searcher):
    photograph = Image.effect_mandelbrot((640, 480), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    stream = io.BytesIO()
    photograph.save(stream, "JPEG", quality=92)
    with Image.open(stream) as decoded:
        decoded.load()
        vector, expected = searcher.embed(decoded), searcher.embed(stream.getvalue())
    # Stated in the documentation.
    assert vector @ expected / np.linalg.norm(vector) / np.linalg.norm(expected) > 0.99


def test_one_bad_query_does_not_spoil_the_others(searcher, tmp_path, monkeypatch):
    good = np.full((20, 20, 3), 200, np.uint8)
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "a.png").write_bytes(b"")
    forbid(gone, monkeypatch)
    modes = [Image.new(mode, (20, 20)) for mode in ("CMYK", "LAB", "HSV", "F", "I;16", "I", "P", "LA", "1", "YCbCr")]
    bad = [
        "n" * 300,
        "zero\0byte",
        gone,
        gone / "a.png",
        "",
        5,
        None,
        b"",
        "id:none",
        "http://[",
        Image.new("L", (0, 3)),
    ]
    results = searcher.query_many([good, *bad, *modes, good])
    errors = [result.error for result in results]
    assert errors[0] is None
    assert all(errors[1 : 1 + len(bad)]), errors
    assert not any(errors[1 + len(bad) :]), errors
    assert all(result.neighbors == () for result in results[1 : 1 + len(bad)])
    assert results[0].neighbors == results[-1].neighbors
    assert "name too long" in errors[1]
    assert "Permission denied" in errors[3]


_QUERY_WITHOUT_RIGHTS = """
import os, sys
from lookalike.config.sections import QueryConfig
from lookalike.errors import ImageError
from lookalike.search.sources import read_query
if os.geteuid() == 0:  # Who may read everything.
    os.setresuid(65534, 65534, 65534)
for path in sys.argv[1:]:
    try:
        read_query(path, QueryConfig(), target_size=8, max_pixels=100)
    except ImageError as error:
        print(error)
"""


def test_a_folder_that_lost_its_rights_is_explained(tmp_path):
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "a.png").write_bytes(b"")
    (tmp_path / "locked").chmod(0o000)
    paths = [str(tmp_path / "locked" / "a.png"), str(tmp_path / "locked" / "b" / "c.png")]
    done = subprocess.run(
        [sys.executable, "-c", _QUERY_WITHOUT_RIGHTS, *paths], capture_output=True, text=True, check=False, timeout=120
    )
    (tmp_path / "locked").chmod(0o700)
    assert [line.partition(";")[0] for line in done.stdout.splitlines()] == [
        f"{path} cannot be read: Permission denied" for path in paths
    ], done.stderr


def test_a_stored_image_that_cannot_be_read_is_still_a_query(searcher, monkeypatch):
    image_id = searcher._rows["image_id"][0].as_py()
    forbid(searcher._dataset_root, monkeypatch)
    result = searcher.query(f"id:{image_id}", 2)
    assert result.neighbors[0].image_id == image_id
    assert result.query_image == b""
    assert "image not available" in render_page([result])
    assert draw_results([result]).height > 0


def test_limits_on_pixels_are_those_of_the_build(searcher):
    with pytest.raises(ImageError, match=r"at most 1 megapixels are decoded \(dataset\.max_pixels\)"):
        searcher.query(Image.new("1", (1001, 1000)))
    assert searcher.query(Image.new("1", (1000, 1000)), 1).error is None


@pytest.mark.parametrize(
    "single", ["a.jpg", Path("a.jpg"), b"a", io.BytesIO(), Image.new("L", (2, 2)), np.zeros((2, 2))]
)
def test_query_many_of_a_single_image_is_a_mistake(searcher, single):
    with pytest.raises(TypeError, match=r"query_many takes a list of images, got one \w+; use query instead"):
        searcher.query_many(single)


def test_query_many_takes_any_collection(searcher):
    images = np.zeros((2, 8, 8, 3), np.uint8)
    assert [len(searcher.query_many(many, 1)) for many in (images, list(images), iter(images), (), [])] == [
        2,
        2,
        2,
        0,
        0,
    ]


def test_a_closed_searcher_lets_go_of_everything(root, tmp_path):
    root = Path(shutil.copytree(root, tmp_path / "root"))  # Nobody else holds this one.

    def mapped_files():
        # A network that was opened stays in memory for the next one who asks for it.
        files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(root) in line}
        return {file for file in files if "/fine_tune/" not in file}

    def descriptors():
        return len(os.listdir("/dev/fd"))  # noqa: PTH208

    gc.collect()
    before, is_linux = descriptors(), Path("/proc/self/maps").exists()
    mapped_before = mapped_files() if is_linux else set()
    with Searcher.open(root) as opened:
        opened.query(np.zeros((8, 8, 3), np.uint8))
        with Store(root).unused(opened.build_id) as is_free:
            assert not is_free
    gc.collect()
    assert descriptors() == before
    assert not is_linux or mapped_files() == mapped_before
    with Store(root).unused(opened.build_id) as is_free:
        assert is_free
    opened.close()
    for use in (
        lambda: opened.query("a.jpg"),
        lambda: opened.query_many(["a.jpg"]),
        lambda: opened.query("id:a"),
        lambda: opened.embed("a.jpg"),
        lambda: len(opened),
        opened.__enter__,
    ):
        with pytest.raises(ValueError, match=r"^this Searcher is closed; open another with Searcher\.open\(root\)$"):
            use()
