"""User-defined Python functions in the configuration, written `python:package.module.function`.

The module must be importable: installed, or in a folder that PYTHONPATH names. Its source is part of the
stage's cache key, so that a change to it trains again.
"""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lookalike.config.sections import TrainingConfig
from lookalike.errors import ConfigError
from lookalike.files import sha256_of_file

PREFIX = "python:"


def is_extension(text: str) -> bool:
    """Whether a setting names a user-defined function."""
    return text.startswith(PREFIX)


def load_extension(key: str, text: str) -> Callable[..., Any]:
    """Return the function that the setting `key` names as `python:package.module.function`.

    Raises ConfigError if the module cannot be found or fails while it is imported, or has no such function.
    """
    module_name, name = _parts(key, text)
    _source(key, text)
    try:
        module = importlib.import_module(module_name)
    except Exception as cause:
        # The module is the user's code: importing it can raise anything.
        raise ConfigError(f"{key}: importing {module_name} failed: {_one_line(cause)}") from cause
    function = getattr(module, name, None)
    if not callable(function):
        functions = sorted(k for k, v in vars(module).items() if callable(v) and not k.startswith("_"))
        raise ConfigError(f"{key}: {module_name} has no function {name!r}; it has {', '.join(functions) or 'none'}")
    found: Callable[..., Any] = function
    return found


def extension_digests(config: TrainingConfig) -> dict[str, str]:
    """Return the sha256 of the source of each training setting that names a function; raises as `load_extension`."""
    settings = {"training.backbone": config.backbone, "training.loss": config.loss}
    return {key: sha256_of_file(_source(key, text)) for key, text in settings.items() if is_extension(text)}


def call_extension(key: str, text: str, *arguments: Any) -> Any:
    """Call the function and return its result; any exception becomes a ConfigError of one line."""
    function = load_extension(key, text)
    try:
        return function(*arguments)
    except Exception as cause:
        raise ConfigError(f"{key}: {text.removeprefix(PREFIX)} raised {_one_line(cause)}") from cause


def _parts(key: str, text: str) -> tuple[str, str]:
    module_name, _, name = text.removeprefix(PREFIX).rpartition(".")
    if not module_name or not all(part.isidentifier() for part in (*module_name.split("."), name)):
        raise ConfigError(f"{key}: expected python:package.module.function, got {text!r}")
    return module_name, name


def _source(key: str, text: str) -> Path:
    module_name, _ = _parts(key, text)
    try:
        found = importlib.util.find_spec(module_name)
    except ModuleNotFoundError:
        found = None
    except Exception as cause:
        # find_spec imports the packages around the module.
        raise ConfigError(f"{key}: importing {module_name} failed: {_one_line(cause)}") from cause
    if found is None or found.origin is None or not Path(found.origin).is_file():
        raise ConfigError(f"{key}: there is no module {module_name}; install it, or name its folder in PYTHONPATH")
    return Path(found.origin)


def _one_line(cause: Exception) -> str:
    return " ".join(f"{type(cause).__name__}: {cause}".split())
