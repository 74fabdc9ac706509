import ast
import shutil
from pathlib import Path

import pytest

import lookalike
from lookalike.pipeline import code_version as module
from lookalike.pipeline.code_version import code_version, reachable_modules
from lookalike.pipeline.registry import STAGES

ENTRY = ("lookalike.stages.build_lsh",)


@pytest.fixture
def copied_package(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "lookalike"
    shutil.copytree(Path(lookalike.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "_PACKAGE_FOLDER", folder)
    code_version.cache_clear()
    yield folder
    code_version.cache_clear()


def change(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")
    code_version.cache_clear()


def test_a_change_in_a_helper_changes_the_version(copied_package):
    before = code_version(ENTRY)
    change(copied_package / "lsh" / "space.py", "\nADDED = 1\n")
    assert code_version(ENTRY) != before


def test_comments_docstrings_and_formatting_do_not(copied_package):
    before = code_version(ENTRY)
    path = copied_package / "stages" / "build_lsh.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    tree.body[0] = ast.Expr(ast.Constant("Another docstring."))
    # Written anew: no comment is left, and no line as it was.
    path.write_text("# a comment\n" + ast.unparse(tree), encoding="utf-8")
    code_version.cache_clear()
    assert code_version(ENTRY) == before


@pytest.mark.parametrize("name", sorted(module._NEUTRAL_MODULES))
def test_messages_settings_and_drawings_do_not(copied_package, name):
    versions = {stage: code_version((f"lookalike.stages.{stage}",)) for stage in STAGES}
    path = copied_package.joinpath(*name.split(".")[1:]).with_suffix(".py")
    assert path.is_file()
    change(path, "\nADDED = 1\n")
    assert {stage: code_version((f"lookalike.stages.{stage}",)) for stage in STAGES} == versions


def test_library_versions_count():
    assert code_version(ENTRY, ("numpy",)) != code_version(ENTRY)
    assert code_version(ENTRY, ("surely-not-installed",)) != code_version(ENTRY)


# By stage and room, all modules whose change makes the stage stale. Anything new here costs a training or an embedding
# of every collection: look whether it belongs there.
MAY_MAKE_STALE = {
    "download_dataset": {
        "": "dataset images threads",
        "dataset": (
            "archive caltech101 catalog label_folders labels listing records source split storage synthetic "
            "vector_catalog vector_files"
        ),
        "dataset.synthetic": "backdrops canvas compose generate nature outdoors palette things",
        "images": "color_profiles formats modes pillow_warnings png_metadata reading tiff_samples",
        "stages": "download_dataset",
    },
    "fine_tune": {
        "": "images threads",
        "config": "extensions",
        "dataset": "records storage",
        "images": "color_profiles formats modes pillow_warnings png_metadata reading tiff_samples",
        "network": (
            "arithmetic backbones description embedding_network head inference model_folder preprocessing weights"
        ),
        "stages": "fine_tune",
        "training": (
            "augmentation batches callbacks checks context features loop losses phases precision replicas "
            "splitting summary"
        ),
    },
    "embed_all": {
        "": "images threads",
        "config": "extensions",
        "dataset": "records storage vector_files",
        "embedding": "checks earlier given hook model precision shards summary table",
        "images": "color_profiles formats modes pillow_warnings png_metadata reading tiff_samples",
        "network": "arithmetic backbones description embedding_network head inference model_folder preprocessing",
        "stages": "embed_all",
    },
    "build_lsh": {
        "": "lsh threads",
        "embedding": "table",
        "lsh": (
            "base batch bucket_model built chances changes checks content contract copies costs engine exact explain "
            "growing hyperplanes index kernels lshash_adapter probing recall sketches space steps storage "
            "stored_checks stored_content streaming subsets tables tuning vectors"
        ),
        "lsh.kernels": "filtering jit loading probing ranking runner steps",
        "stages": "build_lsh",
    },
    "evaluate_recall": {
        "": "evaluation images lsh threads",
        "config": "extensions",
        "dataset": "records storage",
        "embedding": "embedder hook model table",
        "evaluation": "distortion evaluation_set metrics quality ranking recall",
        "images": "color_profiles formats modes pillow_warnings png_metadata reading tiff_samples",
        "lsh": (
            "base batch bucket_model built chances changes checks content contract copies costs engine exact explain "
            "growing hyperplanes index kernels lshash_adapter probing recall sketches space steps storage "
            "stored_checks stored_content streaming subsets tables tuning vectors"
        ),
        "lsh.kernels": "filtering jit loading probing ranking runner steps",
        "network": "arithmetic backbones description embedding_network head inference model_folder preprocessing",
        "stages": "evaluate_recall",
    },
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_is_made_stale_by_these_modules_and_no_others(stage):
    found: dict[str, list[str]] = {}
    for name in sorted(reachable_modules((f"lookalike.stages.{stage}",))):
        room, _, last = name.removeprefix("lookalike.").rpartition(".")
        found.setdefault(room, []).append(last)
    assert {room: " ".join(names) for room, names in found.items()} == MAY_MAKE_STALE[stage]


def test_no_module_makes_all_of_training_embedding_and_hashing_stale_but_the_work_in_threads():
    reached = [reachable_modules((f"lookalike.stages.{stage}",)) for stage in ("fine_tune", "embed_all", "build_lsh")]
    assert set.intersection(*reached) == {"lookalike.threads"}
