"""The documents say what is true: the configuration table, the links, and the commands."""

import re
import shlex
from pathlib import Path

import pytest

from flows.cli import _parser
from lookalike.config.loading import load_config
from lookalike.config.table import with_table

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("artifacts/*.md")])


def test_the_configuration_table_is_that_of_the_models():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert with_table(readme) == readme, "run: python -m lookalike.config.table docs/configuration.md"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def shell_lines(path: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip() and not line.startswith("#")]


def test_every_lookalike_command_of_the_readme_is_valid_usage():
    commands = [line for line in shell_lines(PROJECT / "README.md") if line.startswith("lookalike ")]
    assert len(commands) > 10
    for command in commands:
        options = _parser().parse_args(shlex.split(command, comments=True)[1:])
        if getattr(options, "config", None):
            load_config(PROJECT / options.config, options.set)


def test_every_make_target_of_the_documents_exists():
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for path in DOCUMENTS:
        for target in re.findall(r"`?make ([a-z-]+)`", path.read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{path.name} names make {target}"


@pytest.mark.parametrize("path", sorted((PROJECT / "configs").rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_valid_and_tunes_itself(path):
    config = load_config(path)
    assert (config.index.n_bits, config.index.n_tables, config.index.probes) == ("auto", "auto", "auto")
