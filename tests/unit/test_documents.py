"""The documents say what is true: commands, settings, examples, paths, links, and the configuration table."""

import ast
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from examples.own_metric import mean_similarity_to_nearest
from flows.cli import _parser
from lookalike.config.loading import load_config
from lookalike.config.renamed import RENAMED
from lookalike.config.sections import LookalikeConfig
from lookalike.config.table import with_table
from tests.tiny_build import folder_source, run_build
from tests.tiny_model import make_images

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("artifacts/*.md")])
EVERY_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
SUBPARSERS = next(action.choices for action in _parser()._actions if action.choices)


def prose(path: Path) -> str:
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """The code blocks of all documents in a language, as (document, block)."""
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [
        (str(path.relative_to(PROJECT)), block)
        for path in DOCUMENTS
        for block in pattern.findall(path.read_text(encoding="utf-8"))
    ]


def lookalike_commands() -> list[tuple[str, str]]:
    """Each command of the code blocks, its continued lines joined, as (document, command)."""
    found = []
    for document, block in blocks("bash"):
        lines = block.replace("\\\n", " ").splitlines()
        commands = (re.sub(r"^(PYTHONPATH=\. |\.venv/bin/)", "", line.strip()) for line in lines)
        found += [(document, command) for command in commands if command.startswith("lookalike ")]
    return found


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_configuration_table_is_that_of_the_models():
    text = (PROJECT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert with_table(text) == text, "run: python -m lookalike.config.table docs/configuration.md"


def test_the_readme_is_one_page():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 85


def test_every_page_is_in_the_table_of_contents():
    contents = PROJECT / "docs" / "README.md"
    linked = {(contents.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", prose(contents))}
    assert set(DOCUMENTS) - {PROJECT / "README.md", contents} <= linked


def imports_between_packages() -> set[tuple[str, str]]:
    """The packages of the code that import each other, as (importing, imported); small modules are `base`."""
    found = set()
    for path in [path for package in ("flows", "tasks", "lookalike") for path in (PROJECT / package).rglob("*.py")]:
        package = package_of(".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {(package, package_of(name)) for name in names}
    return {(one, other) for one, other in found if one and other and one != other}


def package_of(module: str) -> str:
    """`search` for `lookalike.search.page`; empty for what is not ours, and for the library's front door."""
    first, _, rest = module.partition(".")
    if first in {"flows", "tasks"}:
        return first
    name = rest.partition(".")[0] if first == "lookalike" else ""
    return "base" if (PROJECT / "lookalike" / f"{name}.py").is_file() else name


def test_the_diagram_of_the_packages_is_that_of_the_imports():
    text = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    diagram = text.partition("<!-- packages: begin -->")[2].partition("<!-- packages: end -->")[0]
    arrows = {tuple(pair) for pair in re.findall(r"^ +(\w+)(?:\[.*?\])? --> (\w+)", diagram, flags=re.MULTILINE)}
    imports = imports_between_packages()
    assert arrows <= imports, "these arrows are no imports"
    reachable = set(arrows)
    for _ in range(len(arrows)):
        reachable |= {(one, last) for one, middle in reachable for other, last in arrows if middle == other}
    assert imports <= reachable, "these imports follow from no arrows"
    assert not any((other, one) in reachable for one, other in reachable), "an arrow points upwards"


@EVERY_DOCUMENT
def test_links_within_the_project_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)]+)\)", prose(path)):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        place = path.parent / file if file else path
        assert place.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(place), f"{path.name} links to {target}"


@pytest.mark.parametrize(("document", "command"), lookalike_commands())
def test_every_lookalike_command_is_valid_usage(document, command, monkeypatch):
    monkeypatch.chdir(PROJECT)
    words = shlex.split(command, comments=True)[1:]
    _parser().parse_args(words)
    settings = [value for option, value in pairwise(words) if option == "--set"]
    for pattern in [word for word in words if word.endswith(".yaml")]:
        files = sorted(Path().glob(pattern))
        assert files, f"{document}: nothing is called {pattern}"
        for file in files:
            load_config(file, settings)


@EVERY_DOCUMENT
def test_commands_and_options_in_the_text_exist(path):
    # Not the titles of automations, such as `lookalike quickstart: build refused`.
    for name, rest in re.findall(r"`lookalike ([a-z]+)(?!:)\b([^`]*)`", prose(path)):
        assert name in SUBPARSERS, f"{path.name}: lookalike {name}{rest}"
        options = SUBPARSERS[name]._option_string_actions
        assert [word for word in rest.split() if word.startswith("-") and word not in options] == []


def test_the_documents_show_every_command():
    assert set(SUBPARSERS) == {command.split()[1] for _, command in lookalike_commands()}


@EVERY_DOCUMENT
def test_every_setting_in_the_text_exists(path):
    fields = {
        name: getattr(field.annotation, "model_fields", None) for name, field in LookalikeConfig.model_fields.items()
    }
    sections = {name: set(keys) for name, keys in fields.items() if keys}
    named = re.findall(rf"`({'|'.join(sections)})\.(\w+)(?:[=:][^`]*)?`", prose(path))
    files = {"json", "faiss"}  # Such as dataset.json.
    unknown = [
        f"{section}.{key}"
        for section, key in named
        if key not in sections[section] | files and f"{section}.{key}" not in RENAMED
    ]
    assert unknown == []


@pytest.mark.parametrize(("document", "block"), blocks("yaml"))
def test_every_example_of_a_configuration_is_valid(document, block, tmp_path):
    base = re.search(r"^extends: (.*)$", block, flags=re.MULTILINE)
    if base:
        (found,) = (PROJECT / "configs").rglob(base[1])
        block = block.replace(base[0], f"extends: '{found}'")
    path = tmp_path / "example.yaml"
    path.write_text(block, encoding="utf-8")
    load_config(path)


@pytest.mark.parametrize(("document", "block"), blocks("python"))
def test_every_python_example_compiles_and_imports_what_exists(document, block):
    tree = ast.parse(block, document)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), document, "exec"), {})
    compile(tree, document, "exec")


@pytest.mark.parametrize(
    ("document", "block"), [example for example in blocks("python") if "HyperplaneLSH" in example[1]]
)
def test_the_examples_that_need_no_build_run(document, block, capsys):
    exec(compile(block, document, "exec"), {})
    nearest_first = capsys.readouterr().out.split()
    assert nearest_first[0].startswith("[0") or nearest_first[:2] == ["[", "0"], "a stored vector finds itself first"


@EVERY_DOCUMENT
def test_every_file_that_a_document_names_exists(path):
    rooms = "lookalike|flows|tasks|tests|docs|configs|examples|benchmarks"
    named = re.findall(rf"`((?:{rooms})/[\w./-]*)`", prose(path))
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
