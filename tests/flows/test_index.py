"""`lookalike index`: a flat folder of pictures becomes an index, and a few more pictures cost only themselves."""

import contextlib
import io
import json
import shlex
from pathlib import Path

import pytest

from flows.cli import _parser
from flows.commands import building
from lookalike.search import Searcher
from lookalike.store.artifacts import Store
from tests.flows.conftest import last_json, run_cli

# The real network, at a size at which sixty pictures take a second.
SETTINGS = ("training.image_size=64", "evaluation.lshash3_queries=0")
N_LABELS, N_PER_LABEL = 12, 5


def draw(folder: Path, numbers: range) -> Path:
    """Pictures of different things in one folder without any order."""
    from lookalike.dataset.synthetic.generate import write_synthetic_images

    drawn = folder.parent / f"drawn {numbers.start}"
    write_synthetic_images(drawn, N_LABELS, numbers.stop // N_LABELS + 1, seed=3)
    folder.mkdir(exist_ok=True)
    for number, path in enumerate(sorted(drawn.rglob("*.*"), key=lambda path: (path.stem, path.parent.name))):
        if number in numbers:
            path.rename(folder / f"{number:03d} {path.parent.name[::-1]}{path.suffix}")
    return folder


def index(folder: Path, root: Path, *, as_json: bool = False) -> int:
    return building.index(folder, root, list(SETTINGS), as_json)


@pytest.fixture(scope="module")
def indexed(prefect_server, tmp_path_factory):
    """The folder, the root, and what the command printed."""
    place = tmp_path_factory.mktemp("my pictures")
    folder = draw(place / "flat", range(60))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert index(folder, place / "root") == 0
    return folder, place / "root", printed.getvalue().strip()


def embedded(root: Path) -> int:
    store = Store(root)
    return store.find(root / store.read_current()["artifacts"]["embed_all"]).summary["embedded"]


def test_a_flat_folder_is_published_and_can_be_asked(indexed):
    folder, root, printed = indexed
    assert "published" in printed
    assert "60 images; on 12 held-out ones: distorted images that find themselves first" in printed
    assert "no accuracy, map, precision_at_1, precision_at_10: the collection has no labels" in printed
    metrics = Store(root).read_current()["metrics"]
    assert metrics["copy_recall_at_10"] >= 0.5
    assert embedded(root) == 60
    question = shlex.split(printed.splitlines()[-1])
    options = _parser().parse_args(question[question.index("lookalike") + 1 :])
    assert options.root == root
    result = Searcher.open(options.root).query(options.images[0], 6)
    assert Path(options.images[0]).parent == folder
    assert (result.neighbors[0].path, result.neighbors[0].label) == (Path(options.images[0]).name, "")


def test_five_more_pictures_cost_five_embeddings_and_the_model_stays(indexed, capsys):
    folder, root, _ = indexed
    before = Store(root).read_current()
    draw(folder, range(60, 65))
    assert index(folder, root, as_json=True) == 0
    outcome = last_json(capsys.readouterr().out)
    assert outcome["steps"] == {
        "download_dataset": "built",
        "fine_tune": "cached",
        "embed_all": "built",
        "build_lsh": "built",
        "evaluate_recall": "built",
    }
    assert outcome["metrics"]["n_images"] == 65
    assert embedded(root) == 5
    assert Store(root).read_current()["artifacts"]["fine_tune"] == before["artifacts"]["fine_tune"]
    assert index(folder, root, as_json=True) == 0
    assert set(json.loads(capsys.readouterr().out)["steps"].values()) == {"cached"}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text("x"), "is not a folder"),
        (lambda folder: folder.mkdir(), "is empty; expected a folder of images"),
        (lambda folder: folder.mkdir() or (folder / "a.txt").write_text("x"), "holds no images: none of its 1 files"),
    ],
    ids=["missing", "file", "empty", "no images"],
)
def test_a_folder_that_cannot_be_indexed_is_one_line_before_prefect_starts(tmp_path, make, problem):
    make(tmp_path / "pictures")
    done = run_cli("index", str(tmp_path / "pictures"), "--root", str(tmp_path / "root"), timeout_seconds=60)
    assert done.returncode in (1, 2)
    assert problem in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
    assert not (tmp_path / "root").exists()
