import ast
import shutil
from pathlib import Path

import pytest

import lookalike
from lookalike.pipeline import code_version as module
from lookalike.pipeline.code_version import code_version, reachable_modules

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


def test_comments_and_docstrings_do_not(copied_package):
    before = code_version(ENTRY)
    path = copied_package / "lsh" / "stage.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    path.write_text(
        '"""Another docstring."""\n'
        + "\n".join(f"{line}" for line in path.read_text(encoding="utf-8").split('"""', 2)[2].splitlines())
        + "\n# a comment\n",
        encoding="utf-8",
    )
    code_version.cache_clear()
    assert code_version(ENTRY) == before


def test_messages_and_settings_do_not(copied_package):
    before = code_version(ENTRY)
    change(copied_package / "errors.py", "\nADDED = 1\n")
    change(copied_package / "config.py", "\nADDED = 1\n")
    assert code_version(ENTRY) == before


def test_library_versions_count():
    assert code_version(ENTRY, ("numpy",)) != code_version(ENTRY)
    assert code_version(ENTRY, ("surely-not-installed",)) != code_version(ENTRY)


@pytest.mark.parametrize(
    ("stage", "reached", "not_reached"),
    [
        ("download_dataset", "lookalike.images.reading", "lookalike.lsh"),
        ("fine_tune", "lookalike.network.head", "lookalike.lsh"),
        ("embed_all", "lookalike.network.head", "lookalike.lsh"),
        ("build_lsh", "lookalike.lsh.engine", "lookalike.training.loop"),
        ("evaluate_recall", "lookalike.lsh.exact", "lookalike.search.searcher"),
    ],
)
def test_each_stage_reaches_what_it_uses_and_no_more(stage, reached, not_reached):
    modules = reachable_modules((f"lookalike.stages.{stage}",))
    assert reached in modules
    assert not_reached not in modules
