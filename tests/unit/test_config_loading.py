from pathlib import Path

import pytest

from lookalike.config_loading import load_config
from lookalike.errors import ConfigError


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_without_a_file():
    assert load_config().training.backbone == "resnet34"


def test_overrides_win_over_the_file(tmp_path):
    path = write(tmp_path, "index:\n  n_bits: 12\n  n_tables: 3\n")
    config = load_config(path, ["index.n_bits=18", "dataset.exclude_labels=[Faces, Faces_easy]"])
    assert (config.index.n_bits, config.index.n_tables) == (18, 3)
    assert config.dataset.exclude_labels == ("Faces", "Faces_easy")


def test_exponents_without_a_point_are_numbers():
    # YAML 1.1 reads 1e-2 as text.
    assert load_config(overrides=["training.frozen_learning_rate=1e-2"]).training.frozen_learning_rate == 0.01


def test_an_empty_section_means_defaults(tmp_path):
    assert load_config(write(tmp_path, "index:\n")).index == load_config().index


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("index.n_bit=3", ["unknown key index.n_bit", "did you mean n_bits?"]),
        ("indx.n_bits=3", ["unknown section indx", "did you mean index?"]),
        ("zzz.n_bits=3", ["unknown section zzz", "valid: artifacts, dataset"]),
        ("index.engine=lshash4", ["index.engine", "'lookalike' or 'lshash3'", "got 'lshash4'"]),
        ("index.n_bits=many", ["index.n_bits", "got 'many'"]),
        ("evaluation.min_recall_at_10=2", ["evaluation.min_recall_at_10", "less than or equal to 1"]),
        ("dataset.source=folder", ["dataset", "dataset.folder must name the folder"]),
        ("training.kept_units=512", ["training", "must be fewer, got 512 of 512"]),
        ("dataset.mirrors=[{url: a, md6: b}]", ["unknown key dataset.mirrors.0.md6", "did you mean md5?"]),
        ("index=3", ["section.key=value", "index=3"]),
        ("index.n_bits", ["section.key=value"]),
        ("index.n_bits=[", ["not a valid YAML value"]),
    ],
)
def test_a_wrong_override_is_one_clear_line(override, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(overrides=[override])
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n- b\n", "must hold sections"),
        ("index: [1, 2\n", "not valid YAML"),
        ("index: 7\n", "index: expected a section of keys, got 7"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, expected):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*absent\.yaml: No such file"):
        load_config(tmp_path / "absent.yaml")


def test_an_override_of_a_section_that_is_no_section(tmp_path):
    with pytest.raises(ConfigError, match="index: expected a section"):
        load_config(write(tmp_path, "index: 7\n"), ["index.n_bits=3"])


def test_the_configuration_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_config().index.n_bits = 3


def test_a_file_holds_only_what_it_changes_of_the_one_it_extends(tmp_path):
    write(tmp_path, "index:\n  n_bits: 12\n  n_tables: 3\ntraining:\n  seed: 4\n")
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "more.yaml"
    path.write_text("extends: ../config.yaml\nindex:\n  n_bits: 5\nembedding:\n  layer: head.norm2\n")
    config = load_config(path, ["index.n_tables=9"])
    assert (config.index.n_bits, config.index.n_tables, config.training.seed) == (5, 9, 4)
    assert config.embedding.layer == "head.norm2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: config.yaml\n", "`extends` must name another file"),
        ("extends: [a]\n", "`extends` must name another file"),
        ("extends: absent.yaml\n", "absent.yaml: No such file"),
    ],
)
def test_extending_nothing_that_can_be_extended_is_refused(tmp_path, text, expected):
    with pytest.raises(ConfigError, match=expected):
        load_config(write(tmp_path, text))


def test_a_circle_of_extensions_is_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("extends: config.yaml\n")
    with pytest.raises(ConfigError, match="not itself"):
        load_config(write(tmp_path, "extends: other.yaml\n"))


NOTHING_TRAINED = ["training.frozen_epochs=0", "training.unfrozen_epochs=0"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["dataset.labels=none"], "dataset.labels is `none`, so there is nothing to train: set training.frozen_epochs"),
        (["dataset.labels=none", *NOTHING_TRAINED, "training.final_head_epochs=1"], "there is nothing to train"),
        (["dataset.labels=none", "dataset.exclude_labels=[a]"], "so there are no exclude_labels"),
        (["dataset.label_level=0"], "label_level counts from 1"),
        (NOTHING_TRAINED, "embedding.layer=head.activation would be random: set it to head.embedding"),
        ([*NOTHING_TRAINED, "training.kept_units=256", "embedding.layer=head.embedding"], "would be random"),
        ([*NOTHING_TRAINED, "training.kept_units=512", "embedding.layer=head.norm"], "would be random"),
        ([*NOTHING_TRAINED, "training.kept_units=513"], "must be no more, got 513 of 512"),
        (["training.kept_units=512"], "must be fewer, got 512 of 512"),
    ],
)
def test_what_cannot_be_without_labels_or_training_is_refused(settings, problem):
    with pytest.raises(ConfigError) as refused:
        load_config(None, settings)
    assert problem in str(refused.value)
    assert not str(refused.value).startswith(":")


@pytest.mark.parametrize("layer", ["head.pool", "head.norm", "body.blocks"])
def test_layers_before_the_untrained_ones_can_be_hooked(layer):
    load_config(None, [*NOTHING_TRAINED, f"embedding.layer={layer}"])
