import numpy as np
import pytest
from PIL import Image

from lookalike.config.sections import EvaluationConfig
from lookalike.evaluation.distortion import distorted
from lookalike.evaluation.evaluation_set import EvaluationSet
from lookalike.evaluation.quality import judge_as_adjusted, judge_as_labelled, judge_distorted, judge_unseen, per_label
from lookalike.lsh.space import VectorSpace


def material(labels, vectors, *, is_train, query_rows):
    vectors = np.array(vectors, np.float32)
    return EvaluationSet(
        vectors=vectors,
        image_ids=np.array([str(row) for row in range(len(labels))], np.str_),
        labels=np.array(labels, np.str_),
        paths=np.array([f"{row}.png" for row in range(len(labels))], np.str_),
        is_train=np.array(is_train, bool),
        query_rows=np.array(query_rows, np.int64),
        space=VectorSpace("euclidean", np.zeros(vectors.shape[1], np.float32)),
    )


# On a line: queries (rows 0 and 4) and training images. "new" lies between the two images of "old".
LINE = material(
    ["old", "old", "new", "old", "new", "new"],
    [[0.0], [0.1], [1.0], [1.2], [1.15], [3.0]],
    is_train=[False, True, True, True, False, True],
    query_rows=[0, 4],
)


def test_every_query_is_judged_by_its_label():
    figures = judge_as_labelled(LINE)
    # Row 0 finds old new old new, row 4 finds old new old new by distance 0.05, 0.15, 1.05, 1.85.
    assert figures.precision_at_1.tolist() == [1.0, 0.0]
    assert figures.average_precision.tolist() == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])


def test_the_worst_label_comes_first_with_what_it_is_taken_for():
    assert per_label(LINE, judge_as_labelled(LINE)).to_csv(index=False).splitlines() == [
        "label,n_queries,precision_at_1,precision_at_10,most_confused_with",
        "new,1,0.0,0.5,old",
        "old,1,1.0,0.5,",
    ]


def test_unseen_labels_are_judged_among_themselves_and_among_all():
    found = judge_unseen(LINE, ["old"])["unseen_labels"]
    assert (found["n_labels"], found["n_queries"]) == (1, 1)
    assert found["among_unseen"]["precision_at_1"] == 1.0
    assert found["among_all"]["precision_at_1"] == 0.0


def test_without_unseen_labels_there_are_no_figures_of_them():
    assert judge_unseen(LINE, ["old", "new"]) == {}


def test_labels_that_name_one_thing_are_merged_and_background_is_left_out():
    config = EvaluationConfig(same_labels=(("old", "new"),), background_labels=("nothing",))
    adjusted = judge_as_adjusted(config, LINE)["adjusted"]
    assert adjusted["precision_at_10"] == 1.0
    background = judge_as_adjusted(EvaluationConfig(background_labels=("new",)), LINE)["adjusted"]
    assert (background["n_queries"], background["map"]) == (1, 1.0)
    assert judge_as_adjusted(EvaluationConfig(), LINE) == {}


class MeanBrightness:
    """Stands in for a network: the embedding is the image's mean brightness."""

    image_size = 32

    def embed(self, image):
        return np.array([np.asarray(image).mean() / 255], np.float32)


def test_distorted_queries_are_those_of_the_sample(tmp_path):
    for row, brightness in enumerate([20, 30, 220]):
        Image.new("RGB", (60, 50), (brightness,) * 3).save(tmp_path / f"{row}.png")
    rows = material(["dark", "dark", "bright"], [[0.1], [0.12], [0.9]], is_train=[False, True, True], query_rows=[0])
    found = judge_distorted(EvaluationConfig(distorted_queries=5), rows, tmp_path, MeanBrightness())["distorted"]
    assert (found["n_queries"], found["precision_at_1"]) == (1, 1.0)
    assert judge_distorted(EvaluationConfig(), rows, tmp_path, MeanBrightness()) == {}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 200)])
def test_distortion_is_seeded_and_changes_the_image(size):
    image = Image.effect_noise(size, 60).convert("RGB")
    one, two, other = (distorted(image, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.mode == "RGB"
    assert one.size <= image.size
    assert one.tobytes() == two.tobytes()
    if size == (300, 200):
        assert one.tobytes() != other.tobytes()
        assert 0.3 <= one.width * one.height / (300 * 200) <= 0.75
