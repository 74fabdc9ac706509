"""Nothing that the product reads or writes is a pickle, which runs code in whoever loads it."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("lookalike", "flows", "tasks") for path in (PROJECT / folder).rglob("*.py"))
PICKLING_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


def imported_modules(tree: ast.AST) -> set[str]:
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names}


def unsafe_loads(tree: ast.AST) -> list[str]:
    """Calls of torch.load without weights_only=True, and of np.load and the like with allow_pickle=True."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        name = ast.unparse(node.func)
        if name == "torch.load" and options.get("weights_only") != "True":
            found.append(ast.unparse(node))
        if options.get("allow_pickle", "False") != "False":
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_module_can_unpickle(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not imported_modules(tree) & PICKLING_MODULES
    assert unsafe_loads(tree) == []


def test_the_check_itself_finds_what_it_looks_for():
    bad = ast.parse(
        "import pickle\ntorch.load(path)\nnp.load(path, allow_pickle=True)\ntorch.load(p, weights_only=True)"
    )
    assert imported_modules(bad) == {"pickle"}
    assert len(unsafe_loads(bad)) == 2
