"""Reading the configuration: a YAML file, then `section.key=value` overrides, checked as one.

Every mistake becomes a `ConfigError` of one line that names the key, says what came, and lists
what would be valid.
"""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lookalike.config import LookalikeConfig
from lookalike.errors import ConfigError

# Beside the sections: the file, relative to the one that says so, whose settings are the defaults of this one.
_EXTENDS = "extends"


def load_config(path: Path | None = None, overrides: Iterable[str] = ()) -> LookalikeConfig:
    """The configuration of a YAML file (or all defaults), with `section.key=value` overrides on top.

    A file that `extends` another one holds only what it changes. Raises ConfigError for a missing or malformed
    file, an unknown key, a wrong type or value.
    """
    return parse_config(_read_extended(path) if path is not None else {}, overrides)


def parse_config(values: Mapping[str, Any], overrides: Iterable[str] = ()) -> LookalikeConfig:
    """The configuration of plain values by section, with overrides on top; raises as `load_config` does."""
    values = {section: dict(keys) if isinstance(keys, Mapping) else keys for section, keys in values.items()}
    for override in overrides:
        _apply_override(values, override)
    try:
        return LookalikeConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from error


def _read_extended(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The sections of a file, over those of the file that it extends; `extending` are the files that led here."""
    values = _read_yaml(path)
    base = values.pop(_EXTENDS, None)
    if base is None:
        return values
    if not isinstance(base, str) or path.resolve() in extending:
        raise ConfigError(f"the configuration {path}: `extends` must name another file, not itself, got {base!r}")
    merged = _read_extended(path.parent / base, (*extending, path.resolve()))
    for section, keys in values.items():
        under = merged.get(section)
        merged[section] = {**under, **keys} if isinstance(under, dict) and isinstance(keys, dict) else keys
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"the configuration {path} must hold sections ({', '.join(_sections())}), not one value")
    # A section whose keys are all commented out reads as null; it means "all defaults".
    return {section: {} if values is None and section != _EXTENDS else values for section, values in content.items()}


def _apply_override(values: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(f"--set expects section.key=value, got {override!r}; for example index.n_bits=16")
    if section not in _sections():
        raise ConfigError(_unknown(section, _sections(), "section"))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {name}: {text!r} is not a valid YAML value") from error
    target = values.setdefault(section, {})
    if not isinstance(target, dict):
        raise ConfigError(f"{section}: expected a section of keys, got {target!r}")
    target[key] = value


def _sections() -> list[str]:
    return list(LookalikeConfig.model_fields)


def _explain(error: ValidationError) -> str:
    problems = [_explain_one(details) for details in error.errors(include_url=False)]
    return "; ".join(problems)


def _explain_one(details: ErrorDetails) -> str:
    location = [str(part) for part in details["loc"] if not _is_union_branch(str(part))]
    key = ".".join(location)
    if details["type"] == "extra_forbidden":
        return _unknown(key, _valid_keys(location[:-1]), "key")
    message = details["msg"].removeprefix("Value error, ")
    if details["type"] == "model_type":
        return f"{key}: expected a section of keys, got {details['input']!r}"
    if isinstance(details["input"], Mapping):
        return f"{key}: {message}" if key else message
    return f"{key}: {message[:1].lower()}{message[1:]}, got {details['input']!r}"


def _is_union_branch(part: str) -> bool:
    # pydantic names the branch of a union it tried (`int`, `literal['auto']`); no key of ours looks so.
    return part == "int" or part.startswith(("literal[", "function-"))


def _valid_keys(location: list[str]) -> list[str]:
    model: type[BaseModel] | None = LookalikeConfig
    for part in location:
        model = _model_of(model, part)
    return list(model.model_fields) if model else []


def _model_of(model: type[BaseModel] | None, part: str) -> type[BaseModel] | None:
    if model is None or part not in model.model_fields:
        return model  # A position in a list keeps the model of its items.
    annotation = model.model_fields[part].annotation
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _unknown(name: str, valid: list[str], what: str) -> str:
    close = difflib.get_close_matches(name.rpartition(".")[2], valid, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"unknown {what} {name}{hint}; valid: {', '.join(valid)}"
