import pytest
from PIL import Image

from lookalike.pipeline.comparison import comparison_table, save_comparison


def row(name, **more):
    metrics = {
        "accuracy": 0.9,
        "precision_at_1": 0.8,
        "precision_at_10": 0.7,
        "map": 0.6,
        "recall_at_10": 0.97,
        **more,
    }
    return {"name": name, "error": None, "metrics": metrics, "seconds": {"fine_tune": 12.3, "embed_all": 4.5}}


FAILED = {"name": "broken", "error": "no such backbone"}
UNSEEN = {"among_all": {"precision_at_10": 0.55}, "among_unseen": {"precision_at_10": 0.66}}


def test_table_has_a_line_a_configuration_and_every_figure():
    lines = comparison_table([row("plain"), FAILED, row("other", unseen_labels=UNSEEN)]).splitlines()
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|") == lines[3].count("|")
    assert "unseen labels" in lines[0]
    assert "distorted" not in lines[0]
    assert lines[2].startswith("| plain | 0.9000 | 0.8000 | 0.7000 | 0.6000 |  |  | 0.9700 | 12 | 4 |")
    assert lines[3].startswith("| broken | failed |")
    assert "0.5500 | 0.6600" in lines[4]


@pytest.mark.parametrize("rows", [[FAILED], [row("one")], [row(f"number {n}", unseen_labels=UNSEEN) for n in range(9)]])
def test_picture_is_written(tmp_path, rows):
    save_comparison(rows, tmp_path / "folder" / "comparison.png")
    with Image.open(tmp_path / "folder" / "comparison.png") as picture:
        assert picture.width >= 800
