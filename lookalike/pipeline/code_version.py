"""The code version of a stage: a digest of all the library's code that the stage reaches.

Prefect's own `TASK_SOURCE` sees only the text of a task; a thin task over changed helpers would
come from the cache. Here the imports are followed from the stage's entry modules, so no list of
modules has to be kept true by hand. Comments, docstrings and formatting do not count.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGE = "lookalike"
_PACKAGE_FOLDER = Path(__file__).parents[1]
# What these do cannot change a stage's output: messages, progress, settings (which count by value), the transfer of
# files (which arrive whole or not at all), and what only draws or describes a result.
_NEUTRAL_MODULES = frozenset(
    f"{_PACKAGE}.{name}"
    for name in (
        "errors",
        "files",
        "limits",
        "printable",
        "progress",
        "config.loading",
        "config.plain_yaml",
        "config.renamed",
        "config.schedules",
        "config.sections",
        "config.setting_types",
        "evaluation.figures",
        "evaluation.report",
        "fetch.download",
        "fetch.proxies",
        "training.history",
    )
)


@cache
def code_version(entry_modules: tuple[str, ...], libraries: tuple[str, ...] = ()) -> str:
    """A 16-digit digest of the code reachable from `entry_modules`, and of the versions of `libraries`.

    `libraries` are the distributions whose version changes the numbers that a stage computes.
    """
    digest = hashlib.sha256()
    for name in sorted(reachable_modules(entry_modules)):
        digest.update(f"{name}\n{_normalized_source(name)}\n".encode())
    for library in libraries:
        digest.update(f"{library} {installed_version(library)}\n".encode())
    return digest.hexdigest()[:16]


def installed_version(library: str) -> str:
    """The installed version of a distribution, or `absent`."""
    try:
        return version(library)
    except PackageNotFoundError:
        return "absent"


def reachable_modules(entry_modules: Iterable[str]) -> set[str]:
    """The library's modules that `entry_modules` import, directly or not, themselves included."""
    found: set[str] = set()
    waiting = list(entry_modules)
    while waiting:
        name = waiting.pop()
        if name in found or name in _NEUTRAL_MODULES:
            continue
        found.add(name)
        waiting.extend(_imported_modules(name))
    return found


def _imported_modules(name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(_path_of(name).read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module):
            yield node.module
            # `from package import module` names modules too.
            yield from (full for full in (f"{node.module}.{alias.name}" for alias in node.names) if _exists(full))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _is_ours(alias.name) and _exists(alias.name))


def _is_ours(module: str) -> bool:
    return module.startswith(f"{_PACKAGE}.")


def _exists(module: str) -> bool:
    return _path_of(module).is_file()


def _path_of(module: str) -> Path:
    base = _PACKAGE_FOLDER.joinpath(*module.split(".")[1:])
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _normalized_source(module: str) -> str:
    tree = ast.parse(_path_of(module).read_bytes())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            _drop_docstring(node)
    return ast.dump(tree)


def _drop_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = node.body[1:]
