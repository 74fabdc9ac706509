import ast
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
OURS = ("flows", "tasks", "lookalike")
# Not installed on Python 3.12 and later, or only by those who want it.
DISTRIBUTIONS = {"lshash": ["lshash3"], "faiss": ["faiss-cpu"], **packages_distributions()}


def declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["faiss"]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def imported_packages(source):
    """The top-level names that a module imports, other than those of Python and of the project."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module)]
        for name in names:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in OURS:
                yield top


@pytest.mark.parametrize("package", OURS)
def test_what_is_imported_is_declared(package):
    missing = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imported_packages(path.read_text(encoding="utf-8"))
        if not {canonicalize_name(found) for found in DISTRIBUTIONS.get(name, [])} & declared()
    }
    assert not missing, f"add these to the dependencies in pyproject.toml: {sorted(missing)}"


def test_imports_are_found_wherever_they_stand():
    source = (
        "import os, numba.core\ndef f():\n    from PIL import Image\n    from . import x\n    from lookalike import y"
    )
    assert list(imported_packages(source)) == ["numba", "PIL"]
