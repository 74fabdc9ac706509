from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lookalike.config.loading import load_config
from lookalike.config.renamed import RENAMED
from lookalike.config.sections import LookalikeConfig
from lookalike.errors import ConfigError
from lookalike.pipeline.registry import STAGES, Plan

DATA = Path(__file__).parents[1] / "data"
KEYS = [
    f"{section}.{key}"
    for section, field in LookalikeConfig.model_fields.items()
    for key in getattr(field.annotation, "model_fields", ())
]
# Keys that take any text.
FREE_TEXTS = ("training.backbone", "training.weights", "training.first_trained_layer", "embedding.layer")
# Whatever a shell can hand over, and what YAML or a shell takes for something else.
ODD_TEXTS = (
    "2021",
    "017",
    "@pics",
    "a: b",
    "[x]",
    "{x",
    "/pics #2",
    "*/5 * * * *",
    "no",
    "null",
    "~user",
    "'",
    "1e3",
    "&a",
)
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1
)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint_of(call: Callable[[], object]) -> str | None:
    """The message of the ConfigError that a call raises, if it raises one; any other exception is a failure."""
    try:
        call()
    except ConfigError as error:
        return str(error)
    return None


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
        ("training.pretrained_components=512", ["training", "must be fewer, got 512 of 512"]),
        ("dataset.mirrors=[{url: a, md6: b}]", ["unknown key dataset.mirrors.0.md6", "did you mean md5?"]),
        ("index=3", ["section.key=value", "index=3"]),
        ("index.n_bits", ["section.key=value"]),
        ("dataset.exclude_labels=[", ["dataset.exclude_labels: a list is written [a, b], got '['"]),
        ("dataset.exclude_labels=cat", ["dataset.exclude_labels: expected a list, such as [a, b], got 'cat'"]),
        ("evaluation.same_labels=[[a, b], [b, c]]", ["evaluation: same_labels names 'b' more than once"]),
        ("dataset.folder=/pics", ["dataset: folder is '/pics', but source is `synthetic`"]),
        ("index.n\nbits=3", ["unknown key 'index.n\\nbits'"]),
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
        ("index: 7\n", "config.yaml: index: expected a section of keys, got '7'"),
        ("index:\n  n_bits: many\n", "config.yaml: index.n_bits: input should be a valid integer"),
        ("index:\n  n_bit: 3\n", "config.yaml: unknown key index.n_bit"),
        ("training:\n  backbone: [a]\n", "training.backbone: expected text; put it in quotes"),
        ("dataset:\n  folder: a: b\n", "is not valid YAML: line 2: mapping values are not allowed here"),
        ("dataset:\n  folder: @pics\n", "line 2: found character '@' that cannot start any token; text with special"),
        ("dataset:\n  seed: !!python/name:os.system\n", "line 2: could not determine a constructor for the tag"),
        ("index: " + "[" * 5000, "too many brackets within brackets"),
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


@given(key=st.sampled_from(FREE_TEXTS), text=TEXTS)
def test_any_text_arrives_as_it_was_set(key, text):
    section, name = key.split(".")
    assert getattr(getattr(load_config(overrides=[f"{key}={text}"]), section), name) == text


@given(text=TEXTS)
def test_any_folder_arrives_as_it_was_set(text):
    config = load_config(overrides=["dataset.source=folder", f"dataset.folder=./{text}", f"artifacts.root=./{text}"])
    assert config.dataset.folder == config.artifacts.root == Path(f"./{text}")


@given(texts=st.lists(TEXTS))
def test_any_labels_arrive_as_they_were_set_and_as_they_were_written(texts, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "labels.yaml"
    path.write_text(yaml.safe_dump({"dataset": {"exclude_labels": texts}}, allow_unicode=True), encoding="utf-8")
    assert load_config(path).dataset.exclude_labels == tuple(texts)
    flow = yaml.safe_dump(texts, default_flow_style=True)
    assert load_config(overrides=[f"dataset.exclude_labels={flow}"]).dataset.exclude_labels == tuple(texts)


@given(
    key=st.sampled_from(KEYS), text=st.text() | TEXTS | st.sampled_from(["[[[", "{a: b}", "1" * 5000, "nan", "\udcff"])
)
def test_any_text_for_any_key_gives_a_configuration_or_one_line(key, text):
    message = complaint_of(lambda: load_config(overrides=[f"{key}={text}"]))
    assert message is None or ("\n" not in message and key.partition(".")[0] in message)


@given(
    text=st.text()
    | st.recursive(st.sampled_from([*KEYS, "index", "dataset", "<<", "&a [*a]"]) | st.text(), st.lists).map(str)
    | st.dictionaries(st.sampled_from([*LookalikeConfig.model_fields, "extends", "x"]), st.text()).map(yaml.safe_dump)
)
def test_any_text_in_a_file_gives_a_configuration_or_one_line(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert "\n" not in (complaint_of(lambda: load_config(path)) or "")


@pytest.mark.parametrize(("text", "expected"), [("017", 17), ("1_000", 1000), (" 5 ", 5), ("+4", 4)])
def test_whole_numbers_are_decimal_wherever_they_stand(tmp_path, text, expected):
    assert load_config(overrides=[f"dataset.seed={text}"]).dataset.seed == expected
    assert load_config(write(tmp_path, f"dataset:\n  seed: {text}\n")).dataset.seed == expected


@pytest.mark.parametrize("text", ["0x1F", "0o17", "1e3", "1:30", "\u0661", "true", "", "null", "[1]", "1.5", "inf"])
def test_what_is_no_decimal_number_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match=r"dataset\.seed"):
        load_config(overrides=[f"dataset.seed={text}"])
    with pytest.raises(ConfigError, match=r"config\.yaml: dataset\.seed"):
        load_config(write(tmp_path, f"dataset:\n  seed: {text}\n"))


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "0x1p3"])
def test_numbers_are_finite(text):
    with pytest.raises(ConfigError, match=r"training\.interpolation"):
        load_config(overrides=[f"training.interpolation={text}"])


@pytest.mark.parametrize(
    ("text", "expected"), [("on", True), ("Yes", True), ("1", True), ("OFF", False), ("no", False)]
)
def test_switches_take_the_usual_words(tmp_path, text, expected):
    assert load_config(overrides=[f"index.center={text}"]).index.center is expected
    assert load_config(write(tmp_path, f"index:\n  center: {text}\n")).index.center is expected


def test_values_of_a_file_are_text_where_text_is_meant(tmp_path):
    text = "dataset:\n  source: folder\n  folder: 2021\n  exclude_labels: [2021, no, 1e3, 0x1F]\n"
    dataset = load_config(write(tmp_path, text)).dataset
    assert dataset.folder == Path("2021")
    assert dataset.exclude_labels == ("2021", "no", "1e3", "0x1F")


def test_home_folders_are_expanded_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "artifacts:\n  root: ~/art\n")
    config = load_config(Path("~/config.yaml"), ["dataset.source=folder", "dataset.folder=~/pics"])
    assert (config.artifacts.root, config.dataset.folder) == (tmp_path / "art", tmp_path / "pics")
    archive = load_config(overrides=["dataset.source=caltech101", "dataset.archive=~/a.zip"]).dataset.archive
    assert archive == tmp_path / "a.zip"
    assert (
        load_config(overrides=["artifacts.root=~nobody-of-this-name/x"]).artifacts.root.parts[0]
        == "~nobody-of-this-name"
    )


def test_nothing_means_the_default_of_a_setting_that_may_be_missing(tmp_path):
    path = write(tmp_path, "training:\n  first_trained_layer: layer4\n")
    assert load_config(path, ["training.first_trained_layer="]).training.first_trained_layer is None
    with pytest.raises(ConfigError, match=r"training\.backbone: expected text of one character or more"):
        load_config(overrides=["training.backbone="])


def test_a_section_that_stands_twice_is_refused_with_its_line():
    with pytest.raises(ConfigError, match="line 6: 'training' stands in line 1 already; put both together"):
        load_config(DATA / "duplicate-section.yaml")


def test_a_key_that_stands_twice_is_refused_but_one_that_is_taken_over_is_not(tmp_path):
    with pytest.raises(ConfigError, match="line 3: 'seed' stands in line 2 already"):
        load_config(write(tmp_path, "training:\n  seed: 1\n  seed: 2\n"))
    config = load_config(write(tmp_path, "dataset: &same\n  seed: 1\nindex:\n  <<: *same\n  seed: 2\n"))
    assert (config.dataset.seed, config.index.seed) == (1, 2)


def test_an_error_names_the_file_that_has_the_value(tmp_path):
    write(tmp_path, "index:\n  n_bits: many\n")
    path = tmp_path / "child.yaml"
    path.write_text("extends: config.yaml\nindex:\n  n_tables: 0\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"{tmp_path / 'config.yaml'}: index.n_bits: input should be 'auto'" in str(caught.value)
    assert f"{path}: index.n_tables: input should be greater than or equal to 1" in str(caught.value)
    with pytest.raises(ConfigError, match=r"^index\.n_bits: "):
        load_config(write(tmp_path, "index:\n  n_bits: 3\n"), ["index.n_bits=many"])


def test_a_file_that_is_no_file_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "a\0b", tmp_path / ("n" * 300)):
        with pytest.raises(ConfigError, match="the configuration"):
            load_config(path)


@pytest.mark.parametrize(
    ("file", "name"),
    [("photos.yaml", "photos"), ("My Photos (2021).yaml", "my-photos-2021"), ("_é_.yaml", "lookalike")],
)
def test_a_collection_has_the_name_of_its_file(tmp_path, file, name):
    path = tmp_path / file
    path.write_text("")
    assert load_config(path).name == name
    assert load_config(path, ["name=2021"]).name == "2021"
    path.write_text("name: other\n")
    assert load_config(path).name == "other"


def test_a_name_is_not_that_of_the_file_that_is_extended(tmp_path):
    write(tmp_path, "name: base\n")
    path = tmp_path / "more.yaml"
    path.write_text("extends: config.yaml\n")
    assert load_config(path).name == "more"


@pytest.mark.parametrize("name", ["A", "-a", "a b", "a/b", "é", ""])
def test_names_are_for_prefect_shells_and_urls(name):
    with pytest.raises(ConfigError, match=r"name: string should match pattern '\^\[a-z0-9\]\[a-z0-9_-\]\*\$'"):
        load_config(None, [f"name={name}"])


@pytest.mark.parametrize("value", ["", "{a: b}"])
def test_a_name_in_a_file_is_text(tmp_path, value):
    with pytest.raises(ConfigError, match=r"name: expected text"):
        load_config(write(tmp_path, f"name: {value}\n"))


def test_the_name_is_of_no_stage(tmp_path):
    stages = [STAGES[name] for name in ("fine_tune", "embed_all", "build_lsh", "evaluate_recall")]
    for stage in stages:
        assert stage.settings(Plan(load_config(None, ["name=a"]))) == stage.settings(
            Plan(load_config(None, ["name=b"]))
        )


NOTHING_TRAINED = ["training.frozen_epochs=0", "training.unfrozen_epochs=0"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["dataset.labels=none"], "dataset.labels is `none`, so there is nothing to train: set training.frozen_epochs"),
        (["dataset.labels=none", *NOTHING_TRAINED, "training.final_head_epochs=1"], "there is nothing to train"),
        (["dataset.labels=none", "dataset.exclude_labels=[a]"], "so there are no exclude_labels"),
        (["dataset.label_level=0"], "label_level counts from 1"),
        (NOTHING_TRAINED, "embedding.layer=head.activation would be random: set it to head.embedding"),
        ([*NOTHING_TRAINED, "training.pretrained_components=256", "embedding.layer=head.embedding"], "would be random"),
        ([*NOTHING_TRAINED, "training.pretrained_components=512", "embedding.layer=head.norm"], "would be random"),
        ([*NOTHING_TRAINED, "training.pretrained_components=513"], "must be no more, got 513 of 512"),
        (["training.pretrained_components=512"], "must be fewer, got 512 of 512"),
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


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_setting_is_known_by_its_earlier_name_too(tmp_path, caplog, old, new):
    (section, key), (new_section, new_key) = old.split("."), new.split(".")
    path = write(tmp_path, f"{section}:\n  {key}: 1\n")
    for config in (load_config(path), load_config(None, [f"{old}=1"])):
        assert getattr(getattr(config, new_section), new_key) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{where}: {old} is now called {new}" for where in (path, "--set")
    ]
    twice = {section: {key: 1}, new_section: {new_key: 1}}
    if section == new_section:
        twice = {section: {key: 1, new_key: 1}}
    with pytest.raises(ConfigError, match=f"{old} is the earlier name of {new}; give one of them"):
        load_config(write(tmp_path, yaml.safe_dump(twice)))
