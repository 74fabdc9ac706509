"""The documents say what is true: the configuration table, the links, and the commands."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from examples.own_metric import mean_similarity_to_nearest
from flows.cli import _parser
from flows.commands.declaring import COMMANDS
from lookalike.config.loading import load_config
from lookalike.config.table import with_table
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("artifacts/*.md")])


def test_the_configuration_table_is_that_of_the_models():
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m lookalike.config.table docs/configuration.md"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def lookalike_commands() -> list[tuple[str, str]]:
    """Each command of a document, its continued lines joined, as (document, command)."""
    found = []
    for path in DOCUMENTS:
        for block in blocks(path, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            commands = (line.removeprefix("PYTHONPATH=. ").strip() for line in lines)
            found += [(path.name, command) for command in commands if command.startswith("lookalike ")]
    return found


@pytest.mark.parametrize(("document", "command"), lookalike_commands())
def test_every_lookalike_command_is_valid_usage(document, command, monkeypatch):
    monkeypatch.chdir(PROJECT)
    options = _parser().parse_args(shlex.split(command, comments=True)[1:])
    if getattr(options, "config_file", None):
        load_config(options.config_file, options.settings)


def test_the_documents_show_every_command():
    shown = {command.split()[1] for _, command in lookalike_commands()}
    assert set(COMMANDS) == shown


@pytest.mark.parametrize(
    ("name", "block"), [(path.name, block) for path in DOCUMENTS for block in blocks(path, "python")]
)
def test_every_python_example_compiles_and_imports_what_exists(name, block):
    tree = ast.parse(block)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), name, "exec"), {})


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_file_that_a_document_names_exists(path):
    named = re.findall(
        r"`((?:lookalike|flows|tasks|tests|docs|configs|examples|benchmarks)/[\w./-]+)`", path.read_text("utf-8")
    )
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_the_example_of_a_metric_reads_a_published_build(tmp_path):
    outcome = run_build(tmp_path / "root", folder_source(make_images(tmp_path / "images")))
    assert outcome["published"]
    assert -1.0 <= mean_similarity_to_nearest(tmp_path / "root") <= 1.0


def test_every_make_target_of_the_documents_exists():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for path in DOCUMENTS:
        for target in re.findall(r"`?make ([a-z-]+)`", path.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name} names make {target}"


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_valid_and_tunes_itself(path):
    config = load_config(path)
    assert (config.index.n_bits, config.index.n_tables, config.index.probes) == ("auto", "auto", "auto")
